"""DenseNet of timm, which is also torchvision's.

Huang et al. 2016, https://arxiv.org/abs/1608.06993.
"""

from __future__ import annotations

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {
    "densenet121": (6, 12, 24, 16),
    "densenet161": (6, 12, 36, 24),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "densenet264d": (6, 12, 64, 48),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    pixels = keras.Input((*image_size, 3), name="pixels")
    make = ConvLayers(checkpoint).under("features", "")
    args = model_args(checkpoint, ("block_config", "growth_rate", "bn_size"))
    depths = numbers(args.get("block_config", _DEPTHS[checkpoint.facts.architecture]), "block_config")
    x = _stem(make.under("", "stem"), pixels)
    for i, depth in enumerate(depths, 1):
        for j in range(1, depth + 1):
            x = _layer(make.under(f"denseblock{i}.denselayer{j}", f"dense{i}layer{j}"), x)
        if i < len(depths):
            x = _transition(make.under(f"transition{i}", f"transition{i}"), x)
    return keras.Model(pixels, make.under("", "head").norm(x, "norm5", "relu"), name="densenet")


def _stem(make: ConvLayers, x: Tensor) -> Tensor:
    if not make.has("norm2"):
        return make.max_pool(make.conv_norm(x, ("conv0", "norm0"), 7, 2, act="relu"), "pool0")
    x = make.conv_norm(x, ("conv0", "norm0"), 3, 2, act="relu")
    x = make.conv_norm(x, ("conv1", "norm1"), 3, act="relu")
    return make.max_pool(make.conv_norm(x, ("conv2", "norm2"), 3, act="relu"), "pool0")


def _layer(make: ConvLayers, x: Tensor) -> Tensor:
    y = make.conv(make.norm(x, "norm1", "relu"), "conv1", 1)
    y = make.conv(make.norm(y, "norm2", "relu"), "conv2", 3)
    return layers.Concatenate(name=make.part.name("join"))([x, y])


def _transition(make: ConvLayers, x: Tensor) -> Tensor:
    x = make.conv(make.norm(x, "norm", "relu"), "conv", 1)
    return layers.AveragePooling2D(2, 2, name=make.part.name("pool"))(x)


FAMILY = Family(
    name="DenseNet",
    timm="|".join(_DEPTHS),
    transformers=(),
    build=build,
    left_out=(r"classifier\.(weight|bias)",),
    examples=tuple(_DEPTHS),
    paper="https://arxiv.org/abs/1608.06993",
)
