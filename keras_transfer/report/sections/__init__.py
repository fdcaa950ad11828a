"""The sections of a report in order, each a module with ``make`` and a template of the same name in ``page/``."""

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
    mistakes,
    repeat,
    result,
    training,
)

__all__ = ["SECTIONS"]

SECTIONS: dict[str, tuple[str, Callable[[RunView], dict[str, Any] | None]]] = {
    "result": ("Result", result.make),
    "mistakes": ("Worst mistakes", mistakes.make),
    "confusion": ("Confusion", confusion.make),
    "classes": ("Classes", classes.make),
    "calibration": ("Calibration", calibration.make),
    "confidence": ("Most and least confident", confidence.make),
    "labels": ("Likely label errors", labels.make),
    "training": ("Training", training.make),
    "data": ("Data", data.make),
    "repeat": ("Repeat it", repeat.make),
}
"""name → title, and the function that makes the variables of the template; None omits the section."""
