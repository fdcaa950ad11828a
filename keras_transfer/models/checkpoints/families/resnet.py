"""ResNet and its variants as timm and transformers build them: B, C, D, S, T stems, ResNeXt, wide, squeeze-and-excitation, RS.

He et al. 2015 (https://arxiv.org/abs/1512.03385), He et al. 2018 (https://arxiv.org/abs/1812.01187), Xie et al. 2016
(https://arxiv.org/abs/1611.05431), Bello et al. 2021 (https://arxiv.org/abs/2103.07579). Stem, width, kind of block and kind of shortcut are
read from the tensors.
"""

from __future__ import annotations

import re

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {
    "10": (1, 1, 1, 1),
    "14": (1, 1, 1, 1),
    "18": (2, 2, 2, 2),
    "26": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
    "269": (3, 30, 48, 8),
    "rs270": (4, 29, 53, 4),
    "rs350": (4, 36, 72, 4),
    "rs420": (4, 44, 87, 4),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    pixels = keras.Input((*image_size, 3), name="pixels")
    make = ConvLayers(checkpoint)
    x = _timm(make, pixels) if checkpoint.facts.library == "timm" else _transformers(make, pixels)
    return keras.Model(pixels, x, name="resnet")


def _timm(make: ConvLayers, x: Tensor) -> Tensor:
    name = make.part.facts.architecture
    size = re.search(r"(rs)?(\d+)", name)
    known = (1, 1, 1, 1) if size is None else _DEPTHS.get(size[0]) or _DEPTHS[size[2]]
    depths = numbers(model_args(make.part, ("layers",)).get("layers", known), "layers", 4)
    cardinality = re.search(r"_(\d+)x\d+d", name)
    x = _stem(make.under("", "stem"), x)
    squeezed = name.startswith(("se", "resnetrs"))
    for i, depth in enumerate(depths, 1):
        make.part.check_alike([f"layer{i}.{j}" for j in range(depth)], ("downsample.",))
        for j in range(depth):
            block = make.under(f"layer{i}.{j}", f"layer{i}block{j}")
            if squeezed:
                block.part.shape("se.fc1.weight")
            x = _block(block, x, 2 if i > 1 and j == 0 else 1, int(cardinality[1]) if cardinality else 1)
    return x


def _stem(make: ConvLayers, x: Tensor) -> Tensor:
    if make.has("conv1.1"):  # three convolutions of 3x3
        x = make.conv_norm(x, ("conv1.0", "conv1.1"), 3, 2, act="relu")
        x = make.conv_norm(x, ("conv1.3", "conv1.4"), 3, act="relu")
        x = make.conv_norm(x, ("conv1.6", "bn1"), 3, act="relu")
    else:
        x = make.conv_norm(x, ("conv1", "bn1"), 7, 2, act="relu")
    if make.part.facts.architecture.startswith("resnetrs"):
        return make.conv_norm(x, ("maxpool.0", "maxpool.1"), 3, 2, act="relu")
    return make.max_pool(x, "maxpool")


def _block(make: ConvLayers, x: Tensor, stride: int, groups: int) -> Tensor:
    start = x
    if make.has("bn3"):
        x = make.conv_norm(x, ("conv1", "bn1"), 1, act="relu")
        x = make.conv_norm(x, ("conv2", "bn2"), 3, stride, groups, act="relu")
        x = make.conv_norm(x, ("conv3", "bn3"), 1)
    else:
        x = make.conv_norm(x, ("conv1", "bn1"), 3, stride, act="relu")
        x = make.conv_norm(x, ("conv2", "bn2"), 3)
    if make.has("se"):
        x = make.squeeze_excite(x, "se", ("fc1", "fc2"))
    if make.has("downsample.2"):  # variant D: averages where the stride is 2
        if stride > 1:
            start = layers.AveragePooling2D(2, stride, padding="same", name=make.part.name("downsample.0"))(start)
        start = make.conv_norm(start, ("downsample.1", "downsample.2"), 1)
    elif make.has("downsample"):
        start = make.conv_norm(start, ("downsample.0", "downsample.1"), 1, stride)
    return make.act(make.add(x, start), "act", "relu")


def _transformers(make: ConvLayers, x: Tensor) -> Tensor:
    config = make.part.facts.config
    if make.has("resnet"):
        make = make.under("resnet", "")
    act = str(config.get("hidden_act", "relu"))
    first = 2 if config.get("downsample_in_first_stage") else 1
    x = _conv(make.under("embedder", "stem"), x, "embedder", 7, 2, act)
    x = make.under("", "stem").max_pool(x, "pool")
    for i, depth in enumerate(numbers(config.get("depths", _DEPTHS["50"]), "depths")):
        make.part.check_alike([f"encoder.stages.{i}.layers.{j}" for j in range(depth)], ("shortcut.",))
        for j in range(depth):
            block = make.under(f"encoder.stages.{i}.layers.{j}", f"stage{i}block{j}")
            stride = 1 if j else first if i == 0 else 2
            x = _transformers_block(block, x, stride, act, bool(config.get("downsample_in_bottleneck")))
    return x


def _transformers_block(make: ConvLayers, x: Tensor, stride: int, act: str, early: bool) -> Tensor:
    """Apply a block, whose stride is in its first convolution of 1x1 (``early``) or in that of 3x3."""
    start = x
    if make.has("layer.2"):
        x = _conv(make, x, "layer.0", 1, stride if early else 1, "relu")
        x = _conv(make, x, "layer.1", 3, 1 if early else stride, "relu")
        x = _conv(make, x, "layer.2", 1)
    else:
        x = _conv(make, x, "layer.0", 3, stride, "relu")
        x = _conv(make, x, "layer.1", 3)
    if make.has("shortcut"):
        start = _conv(make, start, "shortcut", 1, stride)
    return make.act(make.add(x, start), "act", act)


def _conv(make: ConvLayers, x: Tensor, key: str, kernel: int, stride: int = 1, act: str = "") -> Tensor:
    return make.conv_norm(x, (f"{key}.convolution", f"{key}.normalization"), kernel, stride, act=act)


FAMILY = Family(
    name="ResNet",
    timm=r"(se)?resnet(10|14|18|26|34|50|101|152|200|269)[bcdst]?|wide_resnet(50|101)_2|(se)?resnext(26|50|101)[dt]?_(32|64)x\d+d"
    r"|resnetrs(50|101|152|200|270|350|420)|test_resnet",
    transformers=("resnet",),
    build=build,
    left_out=(r"fc\.(weight|bias)", r"classifier\.1\.(weight|bias)"),
    examples=("resnet50", "resnet50d", "resnext50_32x4d", "wide_resnet50_2", "resnetrs50"),
    paper="https://arxiv.org/abs/1512.03385",
)
