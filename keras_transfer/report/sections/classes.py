"""Metrics of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_transfer.report.run_view import RunView


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``classes.html``."""
    train: list[int | None] = [None] * len(view.classes)
    with_train = view.evidence is not None and not view.is_out_of_fold  # out of fold, it is the same column
    if with_train and view.evidence is not None:
        train = view.evidence.data.train.counts().tolist()
    rows = [{"train": count, **row} for row, count in zip(rows_of(view.figures), train)]
    return {"rows": rows, "with_train": with_train}


def rows_of(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, metrics and most frequent wrong prediction of each class."""
    classes = list(figures["per_class"])
    confusion = np.array(figures["confusion"])
    np.fill_diagonal(confusion, 0)
    return [
        {"name": name, "taken_for": classes[row.argmax()] if row.any() else "", **own}
        for (name, own), row in zip(figures["per_class"].items(), confusion)
    ]
