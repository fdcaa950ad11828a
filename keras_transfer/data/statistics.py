"""Statistics of a data set, from which defaults are chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_transfer.data.dataset import Dataset
from keras_transfer.data.images.protocols import BlockStore
from keras_transfer.data.samples import ImageStore

MAX_SAMPLED = 200
# Largest difference of the channels of a grey image: the chroma of JPEGs of grey scenes is noisy.
_GREY_TOLERANCE = 4


@dataclass(frozen=True)
class DataStatistics:
    """Statistics of a data set.

    Attributes:
        n_train: training samples.
        n_val: validation samples.
        n_test: test samples.
        n_classes: classes.
        counts: training samples of each class, by name.
        imbalance: size of the largest class divided by that of the smallest, in training samples.
        median_side: median length of the shorter side, in pixels, over at most MAX_SAMPLED training images.
        is_grey: whether none of those has colour.
    """

    n_train: int
    n_val: int
    n_test: int
    n_classes: int
    counts: dict[str, int]
    imbalance: float
    median_side: float
    is_grey: bool


def describe(dataset: Dataset) -> DataStatistics:
    """Return the statistics of a data set; the same data gives the same ones."""
    counts = dataset.train.counts()
    sides, grey = sample_images(dataset.samples.images, dataset.train.indices)
    return DataStatistics(
        n_train=len(dataset.train),
        n_val=len(dataset.val),
        n_test=len(dataset.test),
        n_classes=len(dataset.classes),
        counts=dict(zip(dataset.classes, counts.tolist())),
        imbalance=float(counts.max() / max(int(counts.min()), 1)),
        median_side=float(np.median(sides)),
        is_grey=grey,
    )


def sample_images(images: ImageStore, indices: np.ndarray, limit: int = MAX_SAMPLED) -> tuple[list[int], bool]:
    """Return the shorter sides of at most `limit` evenly spaced images, and whether all of them are grey."""
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, min(limit, len(indices))).astype(np.int64))]
    sides, grey = [], True
    if isinstance(images, BlockStore):
        images.gather(chosen)
    for i in chosen.tolist():
        image = images.open(i)
        sides.append(min(image.height, image.width))
        if grey:
            pixels = image.reduced(8)[0]
            spread = np.ptp(pixels.astype(np.int16), axis=2) if pixels.shape[2] == 3 else np.zeros(1)
            grey = bool(spread.max() <= _GREY_TOLERANCE)
    return sides, grey
