"""Xception of timm (Chollet 2016, https://arxiv.org/abs/1610.02357), and aligned Xception (Chen et al. 2018, https://arxiv.org/abs/1802.02611)."""

from __future__ import annotations

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

# Strides of the blocks; all but the last have a shortcut.
_STRIDES = {
    "41": (2, 2, 2, *[1] * 8, 2, 1),
    "65": (2, 2, 2, *[1] * 16, 2, 1),
    "71": (2, 1, 2, 1, 2, *[1] * 16, 2, 1),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint)
    name = checkpoint.facts.architecture.removeprefix("xception")
    early = name.endswith("p")  # activations come before convolutions
    make = ConvLayers(checkpoint, epsilon=1e-5 if early else 1e-3)
    pixels = keras.Input((*image_size, 3), name="pixels")
    stem = make.under("stem", "stem")
    x = stem.conv_norm(pixels, ("0.conv", "0.bn"), 3, 2, act="relu")
    x = stem.conv(x, "1", 3) if early else stem.conv_norm(x, ("1.conv", "1.bn"), 3, act="relu")
    strides = _STRIDES[name.removesuffix("p")]
    for number, stride in enumerate(strides):
        last = number == len(strides) - 1
        x = (_early_block if early else _block)(make.under(f"blocks.{number}", f"block{number}"), x, stride, last)
    if early:
        x = layers.ReLU(name="head_act")(x)
    return keras.Model(pixels, x, name="xception")


def _block(make: ConvLayers, x: Tensor, stride: int, last: bool) -> Tensor:
    """Apply three separable convolutions, each after a ReLU; those of the last block have theirs behind each of their parts instead."""
    y, act = x, "relu" if last else ""
    for number in (1, 2, 3):
        y = y if last else make.act(y, f"stack.act{number}", "relu")
        part = make.under(f"stack.conv{number}", make.part.name(f"conv{number}"))
        y = part.conv_norm(y, ("conv_dw", "bn_dw"), 3, stride if number == 3 else 1, DEPTHWISE, act)
        y = part.conv_norm(y, ("conv_pw", "bn_pw"), 1, act=act)
    if last:
        return y
    if make.has("shortcut"):
        x = make.conv_norm(x, ("shortcut.conv", "shortcut.bn"), 1, stride)
    return make.add(y, x)


def _early_block(make: ConvLayers, x: Tensor, stride: int, last: bool) -> Tensor:
    y = start = make.norm(x, "norm", "relu")
    for number in (1, 2, 3):
        part = make.under(f"stack.conv{number}", make.part.name(f"conv{number}"))
        y = part.norm(y, "norm", "relu") if number > 1 else y
        y = part.conv(y, "conv_dw", 3, stride if number == 3 else 1, DEPTHWISE)
        y = part.conv(y, "conv_pw", 1)
    if last:
        return y
    if make.has("shortcut"):
        start = make.conv(start, "shortcut", 1, stride)
    return make.add(y, start)


# Of the first Xception: number of the separable convolutions of each block; those of the last widen at their end.
_REPEATS = (2, 2, 2, *[3] * 8, 2)


def build_first(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network that was published first; see :class:`.family.Family`."""
    model_args(checkpoint)
    make = ConvLayers(checkpoint)
    pixels = keras.Input((*image_size, 3), name="pixels")
    stem, head = make.under("", "stem"), make.under("", "head")
    x = stem.norm(stem.conv(pixels, "conv1", 3, 2, pad=0), "bn1", "relu")
    x = stem.norm(stem.conv(x, "conv2", 3, pad=0), "bn2", "relu")
    for number, repeats in enumerate(_REPEATS, 1):
        x = _first_block(make.under(f"block{number}", f"block{number}"), x, repeats, starts_with_act=number > 1)
    for last in (3, 4):
        x = head.norm(_separable(head, x, f"conv{last}"), f"bn{last}", "relu")
    return keras.Model(pixels, x, name="xception")


def _first_block(make: ConvLayers, x: Tensor, repeats: int, *, starts_with_act: bool) -> Tensor:
    """Apply separable convolutions after a ReLU each; a block with a convolution on its shortcut ends with a pooling."""
    y = x
    for number in range(repeats):
        place = 3 * number + starts_with_act  # in the list of ReLU, convolution, BatchNorm, ReLU, …
        y = make.act(y, f"rep.{place - 1}.act", "relu") if place else y
        y = make.norm(_separable(make, y, f"rep.{place}"), f"rep.{place + 1}")
    if not make.has("skip"):
        return make.add(y, x)
    for axis in (1, 2):  # with the edge once more instead of zeros, which could be larger than what is pooled
        first, last = (y[:, :1], y[:, -1:]) if axis == 1 else (y[:, :, :1], y[:, :, -1:])
        y = layers.Concatenate(axis=axis)([first, y, last])
    y = layers.MaxPooling2D(3, 2, name=make.part.name("pool"))(y)
    return make.add(y, make.conv_norm(x, ("skip", "skipbn"), 1, 2))


def _separable(make: ConvLayers, x: Tensor, key: str) -> Tensor:
    return make.conv(make.conv(x, f"{key}.conv1", 3, groups=DEPTHWISE), f"{key}.pointwise", 1)


FAMILY = Family(
    name="Aligned Xception",
    timm=r"xception(41|65|71|41p|65p)",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\..*",),
    examples=("xception41", "xception65p"),
    paper="https://arxiv.org/abs/1802.02611",
)
FIRST = Family(
    name="Xception",
    timm="legacy_xception",
    transformers=(),
    build=build_first,
    left_out=(r"fc\.(weight|bias)",),
    examples=("legacy_xception",),
    min_size=71,
    paper="https://arxiv.org/abs/1610.02357",
)
