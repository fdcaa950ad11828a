"""Inception V3 of timm.

Szegedy et al. 2015, https://arxiv.org/abs/1512.00567.
"""

from __future__ import annotations

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

_EPSILON = 1e-3
Kernel = int | tuple[int, int]
_Branch = tuple[tuple[str, Kernel], ...]

# Branches of the kinds of modules: names and kernels in order. Those of "B" and "D" end with stride 2.
_A: tuple[_Branch, ...] = (
    (("branch1x1", 1),),
    (("branch5x5_1", 1), ("branch5x5_2", 5)),
    (("branch3x3dbl_1", 1), ("branch3x3dbl_2", 3), ("branch3x3dbl_3", 3)),
)
_B: tuple[_Branch, ...] = (
    (("branch3x3", 3),),
    (("branch3x3dbl_1", 1), ("branch3x3dbl_2", 3), ("branch3x3dbl_3", 3)),
)
_C: tuple[_Branch, ...] = (
    (("branch1x1", 1),),
    (("branch7x7_1", 1), ("branch7x7_2", (1, 7)), ("branch7x7_3", (7, 1))),
    (
        ("branch7x7dbl_1", 1),
        ("branch7x7dbl_2", (7, 1)),
        ("branch7x7dbl_3", (1, 7)),
        ("branch7x7dbl_4", (7, 1)),
        ("branch7x7dbl_5", (1, 7)),
    ),
)
_D: tuple[_Branch, ...] = (
    (("branch3x3_1", 1), ("branch3x3_2", 3)),
    (("branch7x7x3_1", 1), ("branch7x7x3_2", (1, 7)), ("branch7x7x3_3", (7, 1)), ("branch7x7x3_4", 3)),
)
_MODULES = {"5b": _A, "5c": _A, "5d": _A, "6a": _B, "6b": _C, "6c": _C, "6d": _C, "6e": _C, "7a": _D}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint, ("aux_logits",))
    make = ConvLayers(checkpoint, _EPSILON)
    pixels = keras.Input((*image_size, 3), name="pixels")
    stem = make.under("", "stem")
    x = _conv(stem, pixels, "Conv2d_1a_3x3", 3, 2, pad=0)
    x = _conv(stem, x, "Conv2d_2a_3x3", 3, pad=0)
    x = layers.MaxPooling2D(3, 2, name="stem_pool1")(_conv(stem, x, "Conv2d_2b_3x3", 3))
    x = _conv(stem, _conv(stem, x, "Conv2d_3b_1x1", 1), "Conv2d_4a_3x3", 3, pad=0)
    x = layers.MaxPooling2D(3, 2, name="stem_pool2")(x)
    for name, branches in _MODULES.items():
        x = _module(make.under(f"Mixed_{name}", f"mixed{name}"), x, branches, reduces=branches in (_B, _D))
    for name in ("7b", "7c"):
        x = _last(make.under(f"Mixed_{name}", f"mixed{name}"), x)
    return keras.Model(pixels, x, name="inception_v3")


def _module(make: ConvLayers, x: Tensor, branches: tuple[_Branch, ...], *, reduces: bool) -> Tensor:
    ends = []
    for branch in branches:
        y = x
        for name, kernel in branch:
            last = reduces and name == branch[-1][0]
            y = _conv(make, y, name, kernel, 2 if last else 1, pad=0 if last else None)
        ends.append(y)
    pooled = layers.MaxPooling2D(3, 2, name=make.part.name("pool"))(x) if reduces else _pooled(make, x)
    return layers.Concatenate(name=make.part.name("join"))([*ends, pooled])


def _last(make: ConvLayers, x: Tensor) -> Tensor:
    """Apply a module whose branches of 3x3 end in two convolutions beside each other."""
    ends = [_conv(make, x, "branch1x1", 1)]
    short = _conv(make, x, "branch3x3_1", 1)
    long = _conv(make, _conv(make, x, "branch3x3dbl_1", 1), "branch3x3dbl_2", 3)
    for y, name in ((short, "branch3x3_2"), (long, "branch3x3dbl_3")):
        ends += [_conv(make, y, f"{name}a", (1, 3)), _conv(make, y, f"{name}b", (3, 1))]
    return layers.Concatenate(name=make.part.name("join"))([*ends, _pooled(make, x)])


def _pooled(make: ConvLayers, x: Tensor) -> Tensor:
    """Average 3x3, the zeros around the map included, and convolve."""
    x = layers.ZeroPadding2D(1, name=make.part.name("pool_pad"))(x)
    return _conv(make, layers.AveragePooling2D(3, 1, name=make.part.name("pool"))(x), "branch_pool", 1)


def _conv(make: ConvLayers, x: Tensor, key: str, kernel: Kernel, stride: int = 1, pad: int | None = None) -> Tensor:
    return make.norm(make.conv(x, f"{key}.conv", kernel, stride, pad=pad), f"{key}.bn", "relu")


FAMILY = Family(
    name="Inception V3",
    timm="inception_v3",
    transformers=(),
    build=build,
    left_out=(r"fc\.(weight|bias)", r"AuxLogits\..*"),
    examples=("inception_v3",),
    min_size=75,
    paper="https://arxiv.org/abs/1512.00567",
)
