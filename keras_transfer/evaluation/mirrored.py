"""Predictions averaged with those of the mirror image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_transfer.evaluation.evaluate import logits_of_batch

__all__ = ["Mirrored"]


class Mirrored:
    """A model whose outputs are the means of those for an image and for its mirror image, left and right exchanged.

    The usual averaging at test time (Krizhevsky et al. 2012, section 4.1) with flips only. It takes twice the time, and suits data
    whose mirror images belong to the same class.

    Args:
        model: a `keras.Model` or another engine, from images (b, h, w, c) to rows (b, d).
    """

    def __init__(self, model: Any):
        self.model = model

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (b, d) for images (b, h, w, c)."""
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        return np.asarray(
            np.mean([logits_of_batch(self.model, x) for x in (images, mirrored)], axis=0, dtype=np.float32)
        )

    def predict_stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the outputs of each batch."""
        size = 0
        for images in batches:
            size = max(size, len(images))  # a shorter last batch is padded: frameworks would compile again
            padded = images
            if len(images) < size:
                padded = np.concatenate([images, np.repeat(images[-1:], size - len(images), axis=0)])
            yield self.predict_on_batch(padded)[: len(images)]
