"""The misclassified images with the highest loss, with Grad-CAM of the predicted class."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from keras_transfer.evaluation.judged import Judged
from keras_transfer.explain.colours import overlay
from keras_transfer.html.thumbnails import SIDE, Thumbnail, of_pixels
from keras_transfer.report.run_view import RunView

COUNT = 12


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``mistakes.html``."""
    judged = view.judged
    if view.evidence is None or judged is None:
        return None
    wrong = np.flatnonzero(judged.logits.argmax(axis=1) != judged.split.labels)
    chosen = wrong[np.argsort(-judged.losses[wrong], kind="stable")][:COUNT]
    return {"count": len(wrong), "cards": _cards(view, view.evidence.model, judged, chosen) if len(chosen) else []}


def _cards(view: RunView, model: Any, judged: Judged, chosen: np.ndarray) -> list[dict[str, Any]]:
    from keras_transfer.config.open_data import evaluation_transform
    from keras_transfer.explain.grad_cam import GradCam

    split, transform = judged.split, evaluation_transform(view.config.data)
    images = np.stack([transform(split.samples.images.open(int(split.indices[i]))) for i in chosen])
    probabilities = judged.probabilities(chosen)
    maps = GradCam(model)(images, probabilities.argmax(axis=1))
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


def with_map(image: np.ndarray, values: np.ndarray) -> Thumbnail:
    """Return an image (h, w, 1 or 3) overlaid with a map (h, w)."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    large = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    return of_pixels(overlay(large.reshape(*size[::-1], -1), cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)))
