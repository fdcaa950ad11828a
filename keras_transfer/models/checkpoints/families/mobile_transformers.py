"""EfficientNet, MobileNetV1 and MobileNetV2 as transformers builds them: TensorFlow's networks under other names.

Tan & Le 2019 (https://arxiv.org/abs/1905.11946), Howard et al. 2017 (https://arxiv.org/abs/1704.04861), Sandler et al. 2018
(https://arxiv.org/abs/1801.04381).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, numbers
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.tensors import Part

_V1_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_V2_STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    config, name = checkpoint.facts.config, checkpoint.facts.architecture
    epsilon = float(config.get("batch_norm_eps" if name == "efficientnet" else "layer_norm_eps", 1e-3))
    make = ConvLayers(checkpoint, epsilon, bool(config.get("tf_padding", True)))
    if any(key.startswith(f"{name}.") for key in checkpoint.tensors):
        make = make.under(name, "")
    pixels = keras.Input((*image_size, 3), name="pixels")
    networks = {"efficientnet": _efficientnet, "mobilenet_v1": _mobilenet_v1, "mobilenet_v2": _mobilenet_v2}
    return keras.Model(pixels, networks[name](make, config, pixels), name=name)


def _efficientnet(make: ConvLayers, config: Mapping[str, Any], x: Tensor) -> Tensor:
    act = str(config.get("hidden_act", "swish"))
    depth = float(config.get("depth_coefficient", 3.1))
    repeats = numbers(config.get("num_block_repeats", (1, 2, 2, 3, 3, 4, 1)), "num_block_repeats")
    strides = numbers(config.get("strides", (1, 2, 2, 2, 1, 2, 1)), "strides", len(repeats))
    kernels = numbers(config.get("kernel_sizes", (3, 3, 5, 3, 5, 5, 3)), "kernel_sizes", len(repeats))
    symmetric = config.get("depthwise_padding") or ()
    if config.get("pooling_type", "mean") != "mean":
        raise Unsupported(f"efficientnet with pooling_type {str(config['pooling_type'])[:40]!r} is not supported")
    stem = make.under("embeddings", "stem")
    # Zeros below and right whatever the size is: TensorFlow's rule for even sizes.
    x = stem.act(stem.norm(stem.conv(x, "convolution", 3, 2, pad=(0, 1)), "batchnorm"), "act", act)
    number = 0
    for stride, kernel, count in zip(strides, kernels, repeats):
        for j in range(math.ceil(count * depth)):
            block = make.under(f"encoder.blocks.{number}", f"block{number}")
            half = kernel // 2
            pad = None if j or stride == 1 else (half, half) if number in symmetric else (half - 1, half)
            x = _efficientnet_block(block, x, kernel, 1 if j else stride, pad, act, shortcut=j > 0)
            number += 1
    head = make.under("encoder", "head")
    return head.conv_norm(x, ("top_conv", "top_bn"), 1, act=act)


def _efficientnet_block(
    make: ConvLayers, x: Tensor, kernel: int, stride: int, pad: tuple[int, int] | None, act: str, *, shortcut: bool
) -> Tensor:
    start = x
    if make.has("expansion"):
        x = make.conv_norm(x, ("expansion.expand_conv", "expansion.expand_bn"), 1, act=act)
    x = make.conv(x, "depthwise_conv.depthwise_conv", kernel, stride, DEPTHWISE, pad)
    x = make.norm(x, "depthwise_conv.depthwise_norm", act)
    x = make.squeeze_excite(x, "squeeze_excite", ("reduce", "expand"), act)
    x = make.conv_norm(x, ("projection.project_conv", "projection.project_bn"), 1)
    return make.add(x, start) if shortcut and stride == 1 else x


def _mobilenet_v1(make: ConvLayers, config: Mapping[str, Any], x: Tensor) -> Tensor:
    act = str(config.get("hidden_act", "relu6"))
    x = _conv(make.under("", "stem"), x, "conv_stem", 3, 2, act=act)
    for number, stride in enumerate(_V1_STRIDES):
        block = make.under("layer", f"block{number}")
        x = _conv(block, x, str(2 * number), 3, stride, DEPTHWISE, act)
        x = _conv(block, x, str(2 * number + 1), 1, act=act)
    return x


def _mobilenet_v2(make: ConvLayers, config: Mapping[str, Any], x: Tensor) -> Tensor:
    act = str(config.get("hidden_act", "relu6"))
    if config.get("output_stride", 32) != 32:
        raise Unsupported(f"mobilenet_v2 with output_stride {str(config['output_stride'])[:40]!r} is not supported")
    stem = make.under("conv_stem", "stem")
    x = _conv(stem, x, "first_conv", 3, 2, act=act)
    if stem.has("expand_1x1"):
        x = _conv(stem, x, "expand_1x1", 1, act=act)
    x = _conv(stem, x, "conv_3x3", 3, 1, DEPTHWISE, act)
    x = _conv(stem, x, "reduce_1x1", 1)
    for number, stride in enumerate(_V2_STRIDES):
        block = make.under(f"layer.{number}", f"block{number}")
        y = _conv(block, x, "expand_1x1", 1, act=act)
        y = _conv(block, y, "conv_3x3", 3, stride, DEPTHWISE, act)
        y = _conv(block, y, "reduce_1x1", 1)
        x = block.add(y, x) if stride == 1 and y.shape == x.shape else y
    return _conv(make.under("", "head"), x, "conv_1x1", 1, act=act)


def _conv(
    make: ConvLayers, x: Tensor, key: str, kernel: int, stride: int = 1, groups: int = 1, act: str = ""
) -> Tensor:
    return make.conv_norm(x, (f"{key}.convolution", f"{key}.normalization"), kernel, stride, groups, act)


FAMILY = Family(
    name="EfficientNet and MobileNet (transformers)",
    timm="",
    transformers=("efficientnet", "mobilenet_v1", "mobilenet_v2"),
    build=build,
    left_out=(r"classifier\.(weight|bias)",),
    examples=(),
    paper="https://arxiv.org/abs/1905.11946",
)
