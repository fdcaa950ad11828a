"""Inception V4 and Inception-ResNet V2 of timm (Szegedy et al. 2016, https://arxiv.org/abs/1602.07261)."""

from __future__ import annotations

import re

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

_EPSILON = 1e-3
# A module's branches, a word for each convolution: HEIGHTxWIDTH, or the side of a square; "v": without padding, "/2": that with stride 2.
_STEM4 = ("1 3v", "1 1x7 7x1 3v")
_A = ("1", "1 3", "1 3 3", "avg 1")
_REDUCE_A = ("3/2", "1 3 3/2", "max")
_B = ("1", "1 1x7 7x1", "1 7x1 1x7 7x1 1x7", "avg 1")
_REDUCE_B = ("1 3/2", "1 1x7 7x1 3/2", "max")
_MODULES = (
    (4, _STEM4),
    *((n, _A) for n in range(6, 10)),
    (10, _REDUCE_A),
    *((n, _B) for n in range(11, 18)),
    (18, _REDUCE_B),
)
_FIRST = ("1", "1 5", "1 3 3", "avg 1")
# Of Inception-ResNet: key of the reduction, its branches; key of the repeated blocks, their number, branches, factor.
_STAGES = (
    ("mixed_5b", _FIRST, "repeat", 10, ("1", "1 3", "1 3 3"), 0.17),
    ("mixed_6a", _REDUCE_A, "repeat_1", 20, ("1", "1 1x7 7x1"), 0.10),
    ("mixed_7a", ("1 3/2", "1 3/2", "1 3 3/2", "max"), "repeat_2", 9, ("1", "1 1x3 3x1"), 0.20),
)


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint)
    make = ConvLayers(checkpoint, _EPSILON)
    pixels = keras.Input((*image_size, 3), name="pixels")
    residual = checkpoint.facts.architecture == "inception_resnet_v2"
    x = (_inception_resnet if residual else _inception)(make, pixels)
    return keras.Model(pixels, x, name=checkpoint.facts.architecture)


def _inception(make: ConvLayers, x: Tensor) -> Tensor:
    stem = make.under("features", "stem")
    for number, word in enumerate(("3/2", "3v", "3")):
        x = _conv(stem, x, f"{number}", word)
    x = _halved(make.under("features.3", "block3"), x)
    for number, branches in _MODULES:
        if number == 6:
            x = _halved(make.under("features.5", "block5"), x, conv_first=True)
        x = _module(make.under(f"features.{number}", f"block{number}"), x, branches)
    for number in range(19, 22):
        x = _last(make.under(f"features.{number}", f"block{number}"), x)
    return x


def _halved(make: ConvLayers, x: Tensor, *, conv_first: bool = False) -> Tensor:
    parts = [layers.MaxPooling2D(3, 2, name=make.part.name("pool"))(x), _conv(make, x, "conv", "3/2")]
    return layers.Concatenate(name=make.part.name("join"))(parts[::-1] if conv_first else parts)


def _last(make: ConvLayers, x: Tensor) -> Tensor:
    """Apply a module whose longer branches end in two convolutions beside each other."""
    short = _conv(make, x, "branch1_0", "1")
    long = _conv(make, _conv(make, _conv(make, x, "branch2_0", "1"), "branch2_1", "3x1"), "branch2_2", "1x3")
    ends = [_conv(make, x, "branch0", "1")]
    for y, key in ((short, "branch1_1"), (long, "branch2_3")):
        ends += [_conv(make, y, f"{key}a", "1x3"), _conv(make, y, f"{key}b", "3x1")]
    ends.append(_branch(make, x, "branch3", "avg 1"))
    return layers.Concatenate(name=make.part.name("join"))(ends)


def _inception_resnet(make: ConvLayers, x: Tensor) -> Tensor:
    stem = make.under("", "stem")
    x = _conv(stem, _conv(stem, _conv(stem, x, "conv2d_1a", "3/2"), "conv2d_2a", "3v"), "conv2d_2b", "3")
    x = layers.MaxPooling2D(3, 2, name="stem_pool1")(x)
    x = _conv(stem, _conv(stem, x, "conv2d_3b", "1"), "conv2d_4a", "3v")
    x = layers.MaxPooling2D(3, 2, name="stem_pool2")(x)
    for i, (key, branches, repeated, count, inner, factor) in enumerate(_STAGES):
        x = _module(make.under(key, f"stage{i}start"), x, branches)
        for j in range(count):
            x = _residual(make.under(f"{repeated}.{j}", f"stage{i}block{j}"), x, inner, factor)
    x = _residual(make.under("block8", "last"), x, inner, 1.0, act="")
    return _conv(make.under("", "head"), x, "conv2d_7b", "1")


def _residual(make: ConvLayers, x: Tensor, branches: tuple[str, ...], factor: float, act: str = "relu") -> Tensor:
    y = make.conv(_module(make, x, branches), "conv2d", 1, bias=True)
    y = layers.Rescaling(factor, name=make.part.name("scale"))(y)
    return make.act(make.add(y, x), "act", act)


def _module(make: ConvLayers, x: Tensor, branches: tuple[str, ...]) -> Tensor:
    ends = [_branch(make, x, f"branch{number}", words) for number, words in enumerate(branches)]
    return layers.Concatenate(name=make.part.name("join"))(ends)


def _branch(make: ConvLayers, x: Tensor, key: str, words: str) -> Tensor:
    parts = words.split()
    for number, word in enumerate(parts):
        if word == "max":
            x = layers.MaxPooling2D(3, 2, name=make.part.name("pool"))(x)
        elif word == "avg":  # zeros around the map do not count
            x = layers.AveragePooling2D(3, 1, padding="same", name=make.part.name("pool"))(x)
        else:
            x = _conv(make, x, f"{key}.{number}" if len(parts) > 1 else key, word)
    return x


def _conv(make: ConvLayers, x: Tensor, key: str, word: str) -> Tensor:
    """Apply a convolution as a word describes it, BatchNorm and ReLU."""
    sides = [int(side) for side in re.findall(r"\d+", word.partition("/")[0])]
    pad = 0 if word.endswith(("v", "/2")) else None
    x = make.conv(x, f"{key}.conv", (sides[0], sides[-1]), 2 if "/" in word else 1, pad=pad)
    return make.norm(x, f"{key}.bn", "relu")


FAMILY = Family(
    name="Inception V4 and Inception-ResNet V2",
    timm="inception_v4|inception_resnet_v2",
    transformers=(),
    build=build,
    left_out=(r"(last_linear|classif)\.(weight|bias)",),
    examples=("inception_v4", "inception_resnet_v2"),
    min_size=75,
    paper="https://arxiv.org/abs/1602.07261",
)
