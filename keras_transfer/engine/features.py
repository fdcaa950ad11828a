"""Features of a frozen prefix, computed once and served to ``model.fit`` in the order the pictures would have had."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np

from keras_transfer.data.keras_dataset import Batches
from keras_transfer.data.loader import Loader
from keras_transfer.engine.prefix import Cut, find_cut

MEMORY_LIMIT = 2 * 1024**3  # bytes of features kept in memory for one phase


class FeatureBatches(Batches):
    """Batches of features in place of pictures, with the labels, weights, order and size of a loader's batches.

    Args:
        features: (samples, …) in the order of the loader's split.
        loader: of the pictures.
    """

    def __init__(self, features: np.ndarray, loader: Loader):
        super().__init__(loader)
        self.features = features

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        self.served(index)
        positions = self.loader.positions(self.epoch, index)
        return (self.features[positions], *self.loader.targets(positions))


def cut_for_phase(model: keras.Model, train: Batches, val: Batches, epochs: int) -> Cut | None:
    """Cut ``model`` where that saves work and changes nothing: several epochs over pictures that stay the same.

    Args:
        model: ``trainable`` set as for the phase.
        train: training batches.
        val: validation batches.
        epochs: of the phase.
    """
    if epochs < 2 or train.loader.augments:
        return None
    cut = find_cut(model)
    if cut is None:
        return None
    samples = len(train.loader.split) + len(val.loader.split)
    return cut if samples * int(np.prod(cut.shape)) * 4 <= MEMORY_LIMIT else None


def extract(prefix: keras.Model, loader: Loader, tell: Callable[[str], None] | None = None) -> np.ndarray:
    """Run ``prefix`` once over every picture of the loader's split.

    Args:
        prefix: pictures to features.
        loader: gives the pictures.
        tell: is told how long it took.

    Returns:
        float32 (samples, …), in the order of the split.
    """
    began = time.perf_counter()
    plain = loader.in_order()
    features = np.empty((len(plain.split), *prefix.output_shape[1:]), np.float32)
    size = plain.batch_size
    try:
        for index in range(len(plain)):
            pictures = np.asarray(plain.batch(0, index))
            count = len(pictures)
            if count < size:  # one shape for all batches: compiled backends trace once
                pictures = np.concatenate([pictures, np.repeat(pictures[-1:], size - count, axis=0)])
            found = np.asarray(prefix.predict_on_batch(pictures), np.float32)
            features[index * size : index * size + count] = found[:count]
    finally:
        plain.close()
    if tell is not None:
        seconds = max(time.perf_counter() - began, 1e-9)
        tell(f"frozen features of {len(features)} pictures: {seconds:.1f} s, {len(features) / seconds:.0f} images/s")
    return features
