"""Labels that the model disagrees with on images that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.evaluation.label_errors import doubtful_labels
from keras_transfer.report.run_view import RunView
from keras_transfer.report.thumbnails import of_sample

COUNT = 12


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``labels.html``."""
    evidence = view.evidence
    if evidence is None:
        return None
    splits = [getattr(evidence.data, name) for name in evidence.logits]
    probabilities = np.concatenate(list(evidence.probabilities.values()))
    labels = np.concatenate([split.labels for split in splits])
    found = doubtful_labels(probabilities, labels)
    places = [(split, i) for split in splits for i in range(len(split))]
    cards = []
    for k in found[:COUNT].tolist():
        split, i = places[k]
        best = int(probabilities[k].argmax())
        cards.append(
            {
                "name": split.image_name(i),
                "image": of_sample(split, i),
                "label": view.classes[labels[k]],
                "probability": float(probabilities[k, labels[k]]),
                "maybe": view.classes[best],
                "maybe_probability": float(probabilities[k, best]),
                "split": {"val": "validation", "test": "test"}[split.name],
            }
        )
    return {"cards": cards, "count": len(found), "judged": len(labels)}
