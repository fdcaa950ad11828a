"""Augmentations that mix the images and labels of a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keras_transfer.data.augment.base import BatchAugmentation, happens, number


def _partners(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(rng.random(count), kind="stable")


@dataclass(frozen=True)
class MixUp(BatchAugmentation):
    """Blend each image and its label with another of the batch (Zhang et al., 2017).

    Args:
        alpha: the share is sampled from Beta(alpha, alpha), once per batch.
        p: probability that the batch is mixed.
    """

    name = "mixup"
    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        number(self.name, "alpha", self.alpha, 1e-6)
        number(self.name, "p", self.p, 0, 1)

    def apply(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `BatchAugmentation`."""
        if not happens(rng, self.p):
            return images, labels
        share = float(rng.beta(self.alpha, self.alpha))
        other = _partners(len(images), rng)
        mixed = np.empty_like(images)
        for i, j in enumerate(other):
            # Image by image: a float copy of the whole batch would be four times its size.
            mixed[i] = np.rint(images[i] * np.float32(share) + images[j] * np.float32(1 - share))
        return mixed, (share * labels + (1 - share) * labels[other]).astype(np.float32)


@dataclass(frozen=True)
class CutMix(BatchAugmentation):
    """Replace a box of each image by that of another image, and mix the labels by area (Yun et al., 2019).

    Args:
        alpha: the box's share of the area is sampled from 1 - Beta(alpha, alpha), once per batch.
        p: probability that the batch is mixed.
    """

    name = "cutmix"
    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        number(self.name, "alpha", self.alpha, 1e-6)
        number(self.name, "p", self.p, 0, 1)

    def apply(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `BatchAugmentation`."""
        if not happens(rng, self.p):
            return images, labels
        side = math.sqrt(1 - rng.beta(self.alpha, self.alpha))
        v, u = rng.random(2)
        other = _partners(len(images), rng)
        height, width = images.shape[1:3]
        (y0, y1), (x0, x1) = _interval(v, side, height), _interval(u, side, width)
        mixed = images.copy()
        mixed[:, y0:y1, x0:x1] = images[other, y0:y1, x0:x1]
        share = 1 - (y1 - y0) * (x1 - x0) / (height * width)  # the box may have been clipped at the border
        return mixed, (share * labels + (1 - share) * labels[other]).astype(np.float32)


def _interval(center: float, share: float, length: int) -> tuple[int, int]:
    middle, half = center * length, share * length / 2
    return max(0, round(middle - half)), min(length, round(middle + half))
