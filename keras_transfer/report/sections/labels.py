"""Likely label errors among images that the model was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.evaluation.judged import OUT_OF_FOLD
from keras_transfer.evaluation.label_errors import likely_label_errors
from keras_transfer.html.thumbnails import of_sample
from keras_transfer.report.run_view import RunView

COUNT = 12
_KINDS = {"val": "validation", "test": "test", OUT_OF_FOLD: "training, out of fold"}


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``labels.html``."""
    if view.evidence is None or not view.evidence.judged:
        return None
    parts = list(view.evidence.judged.values())
    labels = np.concatenate([part.split.labels for part in parts])
    found = likely_label_errors([part.logits for part in parts], labels)
    places = [(part, i) for part in parts for i in range(len(part.split))]
    cards = []
    for k in found[:COUNT].tolist():
        part, i = places[k]
        probabilities = part.probabilities(i)
        best = int(probabilities.argmax())
        cards.append(
            {
                "name": part.split.image_name(i),
                "image": of_sample(part.split, i),
                "label": view.classes[labels[k]],
                "probability": float(probabilities[labels[k]]),
                "maybe": view.classes[best],
                "maybe_probability": float(probabilities[best]),
                "split": _KINDS[part.name],
            }
        )
    return {"cards": cards, "count": len(found), "judged": len(labels), "kinds": [_KINDS[part.name] for part in parts]}
