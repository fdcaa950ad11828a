"""The images of each class with the highest and the lowest probability of that class."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.html.thumbnails import of_sample
from keras_transfer.report.run_view import RunView

LIMIT = 100
"""Maximum number of classes; of more, those with the lowest F1 are shown."""


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``confidence.html``."""
    judged = view.judged
    if judged is None:
        return None
    split, own = judged.split, np.exp(-judged.losses)
    f1 = np.array([row["f1"] for row in view.figures["per_class"].values()])
    present = np.flatnonzero(split.counts())
    shown = np.sort(present[np.argsort(f1[present], kind="stable")[:LIMIT]])

    def card(i: int) -> dict[str, Any]:
        best = int(judged.logits[i].argmax())
        return {
            "name": split.image_name(i),
            "image": of_sample(split, i),
            "probability": float(own[i]),
            "taken_for": "" if best == split.labels[i] else view.classes[best],
        }

    rows = []
    for k in shown:
        inside = np.flatnonzero(split.labels == k)
        surest, least = int(inside[own[inside].argmax()]), int(inside[own[inside].argmin()])
        rows.append((view.classes[k], card(surest), card(least) if least != surest else None))
    return {"rows": rows, "of": len(view.classes)}
