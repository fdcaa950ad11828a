"""PP-HGNetV2 of timm.

Baidu's PaddleClas, https://github.com/PaddlePaddle/PaddleClas. Factor and offset of a learnable affine block, two numbers in the
checkpoint, are one pair for each channel here.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor, filled
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

# Name → blocks of each stage, convolutions of a block, kernel of the last two stages, whether they end with affine blocks.
_NETWORKS = {
    "b0": ((1, 1, 2, 1), 3, 5, True),
    "b1": ((1, 1, 2, 1), 3, 5, True),
    "b2": ((1, 1, 3, 1), 4, 5, True),
    "b3": ((1, 1, 3, 1), 5, 5, True),
    "b4": ((1, 1, 3, 1), 6, 5, False),
    "b5": ((1, 2, 5, 2), 6, 5, False),
    "b6": ((2, 3, 6, 3), 6, 5, False),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint)
    depths, convolutions, kernel, affine = _NETWORKS[checkpoint.facts.architecture.removeprefix("hgnetv2_")]
    make = ConvLayers(checkpoint)
    pixels = keras.Input((*image_size, 3), name="pixels")
    x = _stem(make.under("stem", "stem"), pixels, affine)
    for i, depth in enumerate(depths):
        for j in range(depth):
            block = make.under(f"stages.{i}.blocks.{j}", f"stage{i}block{j}")
            if i and j == 0:
                down = make.under(f"stages.{i}", f"stage{i}block0")
                x = down.conv_norm(x, ("downsample.conv", "downsample.bn"), 3, 2, DEPTHWISE)
            y = _block(block, x, convolutions, kernel if i > 1 else 3, affine, light=i > 1)
            x = block.add(y, x) if j else y
    head = make.under("head", "head")
    x = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    x = head.act(head.conv(x, "last_conv.0", 1), "last_conv.1", "relu")
    x = _affine(head, x, "last_conv.2") if affine else x
    return keras.Model(pixels, layers.Flatten(name="head_flatten")(x), name="hgnetv2")


def _stem(make: ConvLayers, x: Tensor, affine: bool) -> Tensor:
    x = _conv(make, x, "stem1", 3, affine, 2)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="stem_pad1")(x)
    y = _conv(make, x, "stem2a", 2, affine, pad=0)
    y = layers.ZeroPadding2D(((0, 1), (0, 1)), name="stem_pad2")(y)
    y = _conv(make, y, "stem2b", 2, affine, pad=0)
    x = layers.Concatenate(name="stem_join")([layers.MaxPooling2D(2, 1, name="stem_pool")(x), y])
    return _conv(make, _conv(make, x, "stem3", 3, affine, 2), "stem4", 1, affine)


def _block(make: ConvLayers, x: Tensor, convolutions: int, kernel: int, affine: bool, *, light: bool) -> Tensor:
    """Join the outputs of all convolutions, and mix them by two of 1x1."""
    outputs = [x]
    for number in range(convolutions):
        key = f"layers.{number}"
        if light:
            x = make.conv_norm(x, (f"{key}.conv1.conv", f"{key}.conv1.bn"), 1)
            x = _conv(make, x, f"{key}.conv2", kernel, affine, groups=DEPTHWISE)
        else:
            x = _conv(make, x, key, kernel, affine)
        outputs.append(x)
    x = layers.Concatenate(name=make.part.name("join"))(outputs)
    return _conv(make, _conv(make, x, "aggregation.0", 1, affine), "aggregation.1", 1, affine)


def _conv(
    make: ConvLayers,
    x: Tensor,
    key: str,
    kernel: int,
    affine: bool,
    stride: int = 1,
    groups: int = 1,
    pad: int | None = None,
) -> Tensor:
    x = make.norm(make.conv(x, f"{key}.conv", kernel, stride, groups, pad), f"{key}.bn", "relu")
    return _affine(make, x, f"{key}.lab") if affine else x


def _affine(make: ConvLayers, x: Tensor, key: str) -> Tensor:
    channels = int(x.shape[-1])
    scale, bias = (np.full(channels, make.take(f"{key}.{part}", 1)[0], np.float32) for part in ("scale", "bias"))
    layer = layers.DepthwiseConv2D(1, name=make.part.name(key))
    return filled(layer, x, [scale.reshape(1, 1, channels, 1), bias])


FAMILY = Family(
    name="HGNetV2",
    timm=f"hgnetv2_({'|'.join(_NETWORKS)})",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\.(weight|bias)",),
    examples=("hgnetv2_b0", "hgnetv2_b4"),
    paper="https://github.com/PaddlePaddle/PaddleClas",
)
