"""RegNetX and RegNetY of timm and transformers.

Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678.
"""

from __future__ import annotations

import keras

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

# timm's name after "regnet" → width of a group, blocks of each stage.
_NETWORKS = {
    "x_002": (8, (1, 1, 4, 7)),
    "x_004": (16, (1, 2, 7, 12)),
    "x_006": (24, (1, 3, 5, 7)),
    "x_008": (16, (1, 3, 7, 5)),
    "x_016": (24, (2, 4, 10, 2)),
    "x_032": (48, (2, 6, 15, 2)),
    "x_040": (40, (2, 5, 14, 2)),
    "x_064": (56, (2, 4, 10, 1)),
    "x_080": (120, (2, 5, 15, 1)),
    "x_120": (112, (2, 5, 11, 1)),
    "x_160": (128, (2, 6, 13, 1)),
    "x_320": (168, (2, 7, 13, 1)),
    "y_002": (8, (1, 1, 4, 7)),
    "y_004": (8, (1, 3, 6, 6)),
    "y_006": (16, (1, 3, 7, 4)),
    "y_008": (16, (1, 3, 8, 2)),
    "y_016": (24, (2, 6, 17, 2)),
    "y_032": (24, (2, 5, 13, 1)),
    "y_040": (64, (2, 6, 12, 2)),
    "y_064": (72, (2, 7, 14, 2)),
    "y_080": (56, (2, 4, 10, 1)),
    "y_120": (112, (2, 5, 11, 1)),
    "y_160": (112, (2, 4, 11, 1)),
    "y_320": (232, (2, 5, 12, 1)),
    "y_640": (328, (2, 5, 12, 1)),
    "y_1280": (264, (2, 7, 17, 1)),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    pixels = keras.Input((*image_size, 3), name="pixels")
    make = ConvLayers(checkpoint)
    x = _timm(make, pixels) if checkpoint.facts.library == "timm" else _transformers(make, pixels)
    return keras.Model(pixels, x, name="regnet")


def _timm(make: ConvLayers, x: Tensor) -> Tensor:
    model_args(make.part)
    name = make.part.facts.architecture.removeprefix("regnet").removesuffix("_tv")
    width, depths = _NETWORKS[name]
    x = make.under("", "stem").conv_norm(x, ("stem.conv", "stem.bn"), 3, 2, act="relu")
    for i, depth in enumerate(depths, 1):
        for j in range(1, depth + 1):
            block = make.under(f"s{i}.b{j}", f"stage{i}block{j}")
            x = _block(block, x, 2 if j == 1 else 1, width, squeeze=name.startswith("y"))
    return x


def _block(make: ConvLayers, x: Tensor, stride: int, width: int, *, squeeze: bool) -> Tensor:
    start = x
    x = make.conv_norm(x, ("conv1.conv", "conv1.bn"), 1, act="relu")
    x = make.conv_norm(x, ("conv2.conv", "conv2.bn"), 3, stride, max(1, x.shape[-1] // width), act="relu")
    if squeeze:
        x = make.squeeze_excite(x, "se", ("fc1", "fc2"))
    x = make.conv_norm(x, ("conv3.conv", "conv3.bn"), 1)
    if make.has("downsample"):
        start = make.conv_norm(start, ("downsample.conv", "downsample.bn"), 1, stride)
    return make.act(make.add(x, start), "act", "relu")


def _transformers(make: ConvLayers, x: Tensor) -> Tensor:
    config = make.part.facts.config
    if make.has("regnet"):
        make = make.under("regnet", "")
    act = str(config.get("hidden_act", "relu"))
    (width,) = numbers([config.get("groups_width", 64)], "groups_width")
    x = _conv(make.under("embedder", "stem"), x, "embedder", 3, 2, 1, act)
    for i, depth in enumerate(numbers(config.get("depths", (2, 6, 12, 2)), "depths")):
        first = 2 if i or config.get("downsample_in_first_stage", True) else 1
        for j in range(depth):
            block = make.under(f"encoder.stages.{i}.layers.{j}", f"stage{i}block{j}")
            x = _transformers_block(block, x, first if j == 0 else 1, width, act)
    return x


def _transformers_block(make: ConvLayers, x: Tensor, stride: int, width: int, act: str) -> Tensor:
    start, last = x, "layer.2"
    x = _conv(make, x, "layer.0", 1, act=act)
    x = _conv(make, x, "layer.1", 3, stride, max(1, x.shape[-1] // width), act)
    if make.part.facts.config.get("layer_type", "y") == "y":
        x, last = make.squeeze_excite(x, "layer.2", ("attention.0", "attention.2")), "layer.3"
    x = _conv(make, x, last, 1)
    if make.has("shortcut"):
        start = _conv(make, start, "shortcut", 1, stride)
    return make.act(make.add(x, start), "act", act)


def _conv(
    make: ConvLayers, x: Tensor, key: str, kernel: int, stride: int = 1, groups: int = 1, act: str = ""
) -> Tensor:
    return make.conv_norm(x, (f"{key}.convolution", f"{key}.normalization"), kernel, stride, groups, act)


FAMILY = Family(
    name="RegNet",
    timm=f"regnet({'|'.join(_NETWORKS)})(_tv)?",
    transformers=("regnet",),
    build=build,
    left_out=(r"head\.fc\.(weight|bias)", r"classifier\.1\.(weight|bias)"),
    examples=("regnetx_008", "regnety_016", "regnety_160"),
    paper="https://arxiv.org/abs/2003.13678",
)
