"""How each class fares."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.report.material import Material


def make(material: Material) -> dict[str, Any]:
    """The variables of ``classes.html``."""
    train: list[int | None] = [None] * len(material.classes)
    if material.evidence is not None:
        train = material.evidence.data.train.counts().tolist()
    confusion = np.array(material.figures["confusion"])
    np.fill_diagonal(confusion, 0)
    rows = [
        {"name": name, "train": count, "taken_for": material.classes[row.argmax()] if row.any() else "", **figures}
        for (name, figures), count, row in zip(material.figures["per_class"].items(), train, confusion)
    ]
    return {"rows": rows, "with_train": material.evidence is not None}
