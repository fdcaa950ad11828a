"""Metrics of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_transfer.evaluation.confusion import Cells
from keras_transfer.report.run_view import RunView

LISTED = 500
"""Maximum number of classes in the table; of more, those with the lowest F1."""


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``classes.html``."""
    train: list[int | None] = [None] * len(view.classes)
    with_train = view.evidence is not None and not view.is_out_of_fold  # out of fold, it is the same column
    if with_train and view.evidence is not None:
        train = view.evidence.data.train.counts().tolist()
    rows = [{"train": count, **row} for row, count in zip(rows_of(view.figures), train)]
    weakest = (
        sorted((row for row in rows if row["support"]), key=lambda row: row["f1"])[:LISTED]
        if len(rows) > LISTED
        else rows
    )
    return {"rows": weakest, "with_train": with_train, "of": len(rows)}


def rows_of(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, metrics and most frequent wrong prediction of each class."""
    classes = list(figures["per_class"])
    wrong = Cells.read(figures["confusion"]).mistakes()
    taken_for: dict[int, int] = {}
    for k in np.lexsort((wrong.predicted, -wrong.count, wrong.true)):
        taken_for.setdefault(int(wrong.true[k]), int(wrong.predicted[k]))
    return [
        {"name": name, "taken_for": classes[taken_for[i]] if i in taken_for else "", **own}
        for i, (name, own) in enumerate(figures["per_class"].items())
    ]
