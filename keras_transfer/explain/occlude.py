"""Occlusion: how much the probability of a class drops when a patch of the image is hidden.

Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import logits_of_batch
from keras_transfer.evaluation.metrics import log_softmax
from keras_transfer.explain.grad_cam import Classes, checked_classes, checked_images


def occlusion(
    model: Any,
    images: np.ndarray,
    class_index: Classes = None,
    patch: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Compute occlusion maps: slide a patch over the image and measure the drop in the probability of a class.

    Needs predictions only, about (side / stride)² per image. A patch is filled with the image's mean colour. Where
    patches overlap, a pixel gets the mean over the patches that cover it.

    Args:
        model: a classifier from images to logits.
        images: (b, h, w, c) pixels 0..255 in the model's size.
        class_index: index of the class to explain, one for all images or one per image; None: the predicted class.
        patch: side of the patch in pixels; None: a fifth of the shorter image side.
        stride: step between patches in pixels; None: half a patch.
        batch_size: images per forward pass.

    Returns:
        float32 (b, h, w), -1..1: the drop in probability; negative where hiding makes the class more probable.

    Raises:
        UserError: wrong image shape, a class that the model does not have, patch or stride out of range.
    """
    images = checked_images(images, tuple(model.input_shape[1:3]))
    classes = checked_classes(class_index, len(images), int(model.output_shape[-1]))
    height, width = images.shape[1:3]
    patch = max(1, min(height, width) // 5) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(height, width) or not 1 <= stride <= patch:
        raise UserError(
            f"expected 1 <= stride <= patch <= {min(height, width)} pixels, got patch {patch} and stride {stride}"
        )
    corners = [(top, left) for top in _starts(height, patch, stride) for left in _starts(width, patch, stride)]
    maps = np.empty((len(images), height, width), np.float32)
    for i, image in enumerate(images):
        before = _probabilities(model, image[None], batch_size)[0]
        chosen = int(before.argmax()) if classes is None else classes[i]
        maps[i] = _drop(model, image, corners, patch, chosen, float(before[chosen]), batch_size)
    return maps


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Return the first pixels of the patches along one side; the last patch ends at the border."""
    return sorted({*range(0, length - patch, stride), length - patch})


def _drop(
    model: Any,
    image: np.ndarray,
    corners: list[tuple[int, int]],
    patch: int,
    chosen: int,
    before: float,
    batch_size: int,
) -> np.ndarray:
    total, covered = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    mean = image.mean(axis=(0, 1))
    for start in range(0, len(corners), batch_size):
        places = corners[start : start + batch_size]
        hidden = np.repeat(image[None], len(places), axis=0)
        for one, (top, left) in zip(hidden, places):
            one[top : top + patch, left : left + patch] = mean
        after = _probabilities(model, hidden, batch_size)[:, chosen]
        for value, (top, left) in zip(after, places):
            total[top : top + patch, left : left + patch] += before - value
            covered[top : top + patch, left : left + patch] += 1
    return (total / covered).astype(np.float32)


def _probabilities(model: Any, images: np.ndarray, batch_size: int) -> np.ndarray:
    return np.exp(log_softmax(logits_of_batch(model, images, batch_size)))
