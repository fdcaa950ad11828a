"""Keras's image layers as augmentations: any layer that maps a batch of pixels 0..255 to one of the same shape.

The layer computes as Keras does on the backend at hand, so its pixels are not the same bits on every backend, unlike those of the
package's own augmentations. Its random numbers come from the same seed, epoch and batch, so batches are the same again after resuming.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from keras_transfer.data.augment.base import BatchAugmentation
from keras_transfer.errors import UserError

_LOCK = threading.Lock()  # a layer keeps its random state in a variable, and loaders have several threads


def is_keras_layer(value: object) -> bool:
    """Return whether this is a Keras layer; Keras is not imported."""
    return any(kind.__name__ == "Layer" and kind.__module__.split(".")[0] == "keras" for kind in type(value).__mro__)


@dataclass(frozen=True)
class KerasLayer(BatchAugmentation):
    """A Keras layer, applied to every batch of training.

    Args:
        layer: such as ``keras.layers.RandomFlip("horizontal")``, a pipeline of them, or ``keras.layers.MixUp()``.
    """

    layer: Any
    name: ClassVar[str] = "keras_layer"

    def apply(self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Apply the layer to uint8 images (b, h, w, c), and to float32 labels (b, C) if it mixes images.

        Raises:
            UserError: the layer changes the shape or the range of the pixels.
        """
        pixels = images.astype(np.float32)
        with _LOCK:
            self._seed(rng)
            if self.mixes:
                mixed = self.layer({"images": pixels, "labels": labels}, training=True)
                found, labels = _host(mixed["images"]), np.asarray(_host(mixed["labels"]), np.float32)
            else:
                found = _host(self.layer(pixels, training=True))
        self._check(images, found)
        return np.rint(np.clip(found, 0, 255)).astype(np.uint8), labels

    @property
    def mixes(self) -> bool:
        """Whether the layer mixes images and their labels."""
        return any(kind.__name__ in ("MixUp", "CutMix") for kind in type(self.layer).__mro__)

    def _seed(self, rng: np.random.Generator) -> None:
        for variable in self.layer.variables:
            if "seed_generator" in variable.path:
                variable.assign(rng.integers(0, 2**31, variable.shape, dtype=np.int64).astype(np.uint32))

    def _check(self, given: np.ndarray, found: np.ndarray) -> None:
        if found.shape != given.shape:
            raise UserError(
                f"augment: the layer {self.layer.name!r} turns images {given.shape[1:]} into {found.shape[1:]}; expected the same shape: "
                "the size is the classifier's image_size"
            )
        if not np.isfinite(found).all() or (given.max() > 2 and np.abs(found).max() <= 1):
            raise UserError(
                f"augment: the layer {self.layer.name!r} gives pixels from {found.min():.3g} to {found.max():.3g}; expected 0..255: "
                "the classifier scales them itself"
            )

    def __repr__(self) -> str:
        try:
            return f"KerasLayer({type(self.layer).__name__}, {self.layer.get_config()})"
        except NotImplementedError:
            return f"KerasLayer({self.layer!r})"


def _host(value: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value))
