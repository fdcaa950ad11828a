"""Preprocessing of a backbone's input, as layers of Keras's own.

A saved classifier contains these layers: with or without this package, its input is raw RGB pixels 0..255. Keras is not imported
until a graph is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """``pixels * scale + offset`` per channel, after an optional RGB to BGR flip.

    Attributes:
        name: the convention's usual name (``"caffe"``, ``"tf"``, ``"torch"`` …).
        scale: factor of each channel, in the order of ``channel_order``.
        offset: added to each channel afterwards.
        channel_order: ``"rgb"`` or ``"bgr"``, the order that the backbone receives (the input is always RGB).
    """

    name: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    channel_order: str = "rgb"

    def __post_init__(self) -> None:
        """Check the channel order."""
        if self.channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {self.channel_order!r}")

    def layers(self, x: keras.KerasTensor, name: str = "preprocess") -> keras.KerasTensor:
        """Return the preprocessed ``x`` (batch, height, width, 3; RGB 0..255, float32), float32.

        One channel (batch, height, width, 1) is scaled by the means of the three scales and offsets.

        The layers are float32 in every precision: they cost little, and subtracting a mean in bfloat16 would lose half of a
        pixel's bits.
        """
        import keras

        scale, offset = list(self.scale), list(self.offset)
        if x.shape[-1] == 1:
            scale, offset = [float(np.mean(scale))], [float(np.mean(offset))]
        elif self.channel_order == "bgr":
            x = keras.ops.flip(x, axis=-1)
        return keras.layers.Rescaling(scale, offset, dtype="float32", name=name)(x)

    def array(self, images: np.ndarray) -> np.ndarray:
        """Compute the same in NumPy: ``images`` (…, 3), RGB 0..255, to float32."""
        pixels = np.asarray(images, dtype=np.float32)
        if self.channel_order == "bgr":
            pixels = pixels[..., ::-1]
        return pixels * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)


def standardised(name: str, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """Return the preprocessing to 0..1, then minus ``mean`` and divided by ``std`` per channel.

    Raises:
        ValueError: not three numbers each.
    """
    if len(mean) != 3 or len(std) != 3:
        raise ValueError(f"expected three means and three deviations, got {mean} and {std}")
    red, green, blue = ((1 / (255 * s), -m / s) for m, s in zip(mean, std))
    return Preprocessing(name, (red[0], green[0], blue[0]), (red[1], green[1], blue[1]))


def _same(value: float) -> tuple[float, float, float]:
    return (value, value, value)


# Means of the Caffe reference models, in BGR order; no scaling (as in He et al. and Simonyan & Zisserman).
CAFFE = Preprocessing("caffe", _same(1.0), (-103.939, -116.779, -123.68), "bgr")
# -1..1, the convention of the TensorFlow models.
TF = Preprocessing("tf", _same(1 / 127.5), _same(-1.0))
# 0..1, then ImageNet's mean and standard deviation: the convention of the PyTorch models.
TORCH = standardised("torch", IMAGENET_MEAN, IMAGENET_STD)
# EfficientNetV2 S, M and L.
TF_128 = Preprocessing("tf128", _same(1 / 128), _same(-1.0))
# EfficientNet-Lite: (x - 127) / 128.
LITE = Preprocessing("lite", _same(1 / 128), _same(-127 / 128))
