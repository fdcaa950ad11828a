"""The images that the model got most wrong, with Grad-CAM of what it took them for."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.evaluation.metrics import log_softmax
from keras_transfer.report.run_view import Evidence, RunView
from keras_transfer.report.thumbnails import of_pixels, with_map

COUNT = 12


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``mistakes.html``."""
    evidence = view.evidence
    if evidence is None:
        return None
    labels = getattr(evidence.data, view.split).labels
    logits = evidence.logits[view.split]
    loss = -log_softmax(logits)[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    chosen = wrong[np.argsort(-loss[wrong], kind="stable")][:COUNT]
    return {"count": len(wrong), "cards": _cards(view, evidence, chosen) if len(chosen) else []}


def _cards(view: RunView, evidence: Evidence, chosen: np.ndarray) -> list[dict[str, Any]]:
    from keras_transfer.config.open_data import evaluation_transform
    from keras_transfer.explain.grad_cam import GradCam

    split, transform = getattr(evidence.data, view.split), evaluation_transform(view.config.data)
    images = np.stack([transform(split.samples.images.open(int(split.indices[i]))) for i in chosen])
    probabilities = evidence.probabilities[view.split][chosen]
    maps = GradCam(evidence.model)(images, probabilities.argmax(axis=1))
    return [
        {
            "name": split.image_name(int(i)),
            "image": of_pixels(image),
            "map": with_map(image, values),
            "label": view.classes[split.labels[i]],
            "probability": float(row[split.labels[i]]),
            "bars": [(view.classes[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:3]],
        }
        for i, image, values, row in zip(chosen, images, maps, probabilities)
    ]
