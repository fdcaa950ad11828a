"""RepVGG and MobileOne of timm: plain stacks of convolutions, each trained as several branches.

Ding et al. 2021 (https://arxiv.org/abs/2101.03697), Vasu et al. 2022 (https://arxiv.org/abs/2206.04040). The branches, which could be merged
for inference, stay apart, as in training; of a checkpoint that was merged, there is one convolution.
"""

from __future__ import annotations

import re

import keras

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {"a": (2, 4, 14, 1), "b": (4, 6, 16, 1), "d": (8, 14, 24, 1)}
_MOBILE = (2, 8, 10, 1)  # pairs of a depthwise and a pointwise convolution
_SQUEEZED = (0, 0, 5, 1)  # of MobileOne-S4: last pairs with squeeze-and-excitation
_BRANCHES = {"s0": 4}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    model_args(checkpoint)
    kind, _, size = checkpoint.facts.architecture.partition("_")
    make = ConvLayers(checkpoint)
    x = pixels = keras.Input((*image_size, 3), name="pixels")
    x = (_repvgg if kind == "repvgg" else _mobileone)(make, x, size)
    return keras.Model(pixels, x, name=kind)


def _repvgg(make: ConvLayers, x: Tensor, size: str) -> Tensor:
    grouped = re.search(r"g(\d)", size)
    squeeze = size.endswith("se")
    x = _block(make.under("stem", "stem"), x, ("conv_kxk",), "conv_1x1", 2, squeeze=squeeze)
    for i, depth in enumerate(_DEPTHS[size[0]]):
        for j in range(depth):
            block = make.under(f"stages.{i}.{j}", f"stage{i}block{j}")
            groups = int(grouped[1]) if grouped and j % 2 else 1
            x = _block(block, x, ("conv_kxk",), "conv_1x1", 1 if j else 2, groups, squeeze=squeeze)
    return x


def _mobileone(make: ConvLayers, x: Tensor, size: str) -> Tensor:
    branches = tuple(f"conv_kxk.{number}" for number in range(_BRANCHES.get(size, 1)))
    x = _block(make.under("stem", "stem"), x, branches[:1], "conv_scale", 2)
    for i, pairs in enumerate(_MOBILE):
        for j in range(2 * pairs):
            block = make.under(f"stages.{i}.{j}", f"stage{i}block{j // 2}{'b' if j % 2 else 'a'}")
            squeeze = size == "s4" and j // 2 >= pairs - _SQUEEZED[i]
            if j % 2:
                x = _block(block, x, branches, "", squeeze=squeeze)
            else:
                x = _block(block, x, branches, "conv_scale", 1 if j else 2, DEPTHWISE, squeeze=squeeze)
    return x


def _block(
    make: ConvLayers,
    x: Tensor,
    branches: tuple[str, ...],
    pointwise: str,
    stride: int = 1,
    groups: int = 1,
    *,
    squeeze: bool = False,
) -> Tensor:
    """Add ``branches`` of 3x3 (of 1x1 where there is no ``pointwise`` branch beside them), and the normalized input where the shapes are equal."""
    kernel = 3 if pointwise else 1
    if make.has("reparam_conv"):
        y = make.conv(x, "reparam_conv", kernel, stride, groups, bias=True)
    else:
        parts = [make.conv_norm(x, (f"{key}.conv", f"{key}.bn"), kernel, stride, groups) for key in branches]
        if pointwise:
            parts.append(make.conv_norm(x, (f"{pointwise}.conv", f"{pointwise}.bn"), 1, stride, groups))
        if parts[0].shape == x.shape:
            parts.append(make.norm(x, "identity"))
        y = parts[0]
        for number, part in enumerate(parts[1:], 1):
            y = make.add(y, part, f"add{number}")
    if squeeze:
        y = make.squeeze_excite(y, "attn", ("fc1", "fc2"))
    return make.act(y, "act", "relu")


FAMILY = Family(
    name="RepVGG and MobileOne",
    timm=r"repvgg_(a[0-2]|b0|b[1-3](g4)?|d2se)|mobileone_s[0-4]",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\.(weight|bias)",),
    examples=("repvgg_a0", "repvgg_b1g4", "mobileone_s0", "mobileone_s4"),
    paper="https://arxiv.org/abs/2101.03697",
)
