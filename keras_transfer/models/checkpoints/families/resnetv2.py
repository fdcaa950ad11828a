"""ResNet with activations before convolutions, as timm builds it, and Big Transfer (BiT).

He et al. 2016 (https://arxiv.org/abs/1603.05027), Kolesnikov et al. 2019 (https://arxiv.org/abs/1912.11370). BiT normalizes groups of channels,
and its kernels, whose filters have a mean of zero and a variance of one: they are stored as such and trained as plain kernels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor, filled
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
}
_GROUPS = 32


@dataclass(frozen=True)
class _Standardised(ConvLayers):
    """Layers whose kernels are standardised when they are read, and whose norms are of groups of channels."""

    def take(self, key: str, *shape: int) -> np.ndarray:
        """Return a tensor; of a kernel, each filter with a mean of zero and a variance of one."""
        found = super().take(key, *shape)
        if found.ndim != 4:
            return found
        rows = found.reshape(len(found), -1).astype(np.float64)
        rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-8)
        return rows.reshape(found.shape).astype(np.float32)


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    name = checkpoint.facts.architecture.removeprefix("resnetv2_")
    args = model_args(checkpoint, ("layers", "channels"))
    size = re.match(r"\d+", name)
    depths = numbers(args.get("layers", _DEPTHS[size[0] if size else "50"]), "layers", 4)
    make = (_Standardised if name.endswith("bit") else ConvLayers)(checkpoint)
    pixels = keras.Input((*image_size, 3), name="pixels")
    x = _stem(make.under("stem", "stem"), pixels)
    for i, depth in enumerate(depths):
        for j in range(depth):
            x = _block(make.under(f"stages.{i}.blocks.{j}", f"stage{i}block{j}"), x, 2 if i and j == 0 else 1)
    return keras.Model(pixels, _norm(make.under("", "head"), x, "norm"), name="resnetv2")


def _stem(make: ConvLayers, x: Tensor) -> Tensor:
    if make.has("conv1"):  # three convolutions of 3x3
        x = _norm(make, make.conv(x, "conv1", 3, 2), "norm1")
        x = _norm(make, make.conv(x, "conv2", 3), "norm2")
        x = make.conv(x, "conv3", 3)
    else:
        x = make.conv(x, "conv", 7, 2)
    if isinstance(make, _Standardised):  # BiT pads with zeros, which may be the maximum
        return layers.MaxPooling2D(3, 2, name="stem_pool")(layers.ZeroPadding2D(1, name="stem_pool_pad")(x))
    return _max_pool(x)


def _max_pool(x: Tensor) -> Tensor:
    """Take maxima of 3x3 with stride 2; beyond the edge there is nothing, though ``x`` may be negative."""
    for axis, name in (
        (1, "rows"),
        (2, "columns"),
    ):  # the outermost row or column once more leaves all maxima as they are
        side = int(x.shape[axis])
        first, last = (x[:, :1], x[:, side - 1 :]) if axis == 1 else (x[:, :, :1], x[:, :, side - 1 :])
        x = layers.Concatenate(axis=axis, name=f"stem_pool_{name}")([first, x, *([last] if side % 2 else [])])
    return layers.MaxPooling2D(3, 2, name="stem_pool")(x)


def _norm(make: ConvLayers, x: Tensor, key: str) -> Tensor:
    if not isinstance(make, _Standardised):
        return make.norm(x, key, "relu")
    values = [make.take(f"{key}.{part}", x.shape[-1]) for part in ("weight", "bias")]
    layer = layers.GroupNormalization(_GROUPS, epsilon=1e-5, name=make.part.name(key))
    return make.act(filled(layer, x, values), f"{key}_act", "relu")


def _block(make: ConvLayers, x: Tensor, stride: int) -> Tensor:
    y = _norm(make, x, "norm1")
    if make.has("downsample"):
        x = y
        if re.search(r"_\d+[dt]", make.part.facts.architecture) and stride > 1:
            x = layers.AveragePooling2D(2, 2, padding="same", name=make.part.name("downsample.pool"))(x)
            x = make.conv(x, "downsample.conv", 1)
        else:
            x = make.conv(x, "downsample.conv", 1, stride)
    if make.has("conv3"):
        y = make.conv(y, "conv1", 1)
        y = make.conv(_norm(make, y, "norm2"), "conv2", 3, stride)
        y = make.conv(_norm(make, y, "norm3"), "conv3", 1)
    else:
        y = make.conv(y, "conv1", 3, stride)
        y = make.conv(_norm(make, y, "norm2"), "conv2", 3)
    return make.add(y, x)


FAMILY = Family(
    name="ResNetV2",
    timm=r"resnetv2_(18d?|34d?|50[dt]?|101d?|152d?)",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\..*",),
    examples=("resnetv2_50", "resnetv2_50d", "resnetv2_101"),
    paper="https://arxiv.org/abs/1603.05027",
)
BIG_TRANSFER = replace(
    FAMILY,
    name="Big Transfer",
    timm=r"resnetv2_(50x[13]|101x[13]|152x[24])_bit",
    examples=("resnetv2_50x1_bit", "resnetv2_101x1_bit"),
    paper="https://arxiv.org/abs/1912.11370",
)
