"""The sections of a report. To add one: a module with ``make``, a template ``page/NAME.html``, a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_transfer.report.run_view import RunView
from keras_transfer.report.sections import (
    calibration,
    classes,
    confidence,
    confusion,
    data,
    labels,
    leaderboard,
    mistakes,
    novelty,
    repeat,
    result,
    several,
    training,
)

__all__ = ["FIGURES", "ONE_LABEL", "SECTIONS"]

SECTIONS: dict[str, tuple[str, Callable[[RunView], dict[str, Any] | None]]] = {
    "result": ("Result", result.make),
    "leaderboard": ("Leaderboard", leaderboard.make),
    "several": ("Labels", several.make),
    "mistakes": ("Worst mistakes", mistakes.make),
    "confusion": ("Confusion", confusion.make),
    "classes": ("Classes", classes.make),
    "calibration": ("Calibration", calibration.make),
    "confidence": ("Most and least confident", confidence.make),
    "novelty": ("None of these", novelty.make),
    "labels": ("Likely label errors", labels.make),
    "training": ("Training", training.make),
    "data": ("Data", data.make),
    "repeat": ("Repeat it", repeat.make),
}
"""Name → title, and the function that returns the template's variables, or None to leave the section out."""

ONE_LABEL = frozenset({"mistakes", "confusion", "classes", "calibration", "confidence", "labels"})
"""Sections that are left out where an image may have several labels."""

FIGURES = frozenset({"result", "several", "mistakes", "confusion", "classes", "calibration", "confidence"})
"""Sections that show one set of images: test, else validation, else training images out of fold."""
