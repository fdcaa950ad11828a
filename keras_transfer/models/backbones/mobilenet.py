"""MobileNet 1, 2 and 3 (keras.applications)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.backbones.record import Checkpoint
from keras_transfer.models.backbones.torch_names import (
    Block,
    Parts,
    inverted_residual_blocks,
    match,
    timm,
    torchvision_mobilenet_v2,
)
from keras_transfer.models.backbones.torch_variant import with_torch_variant
from keras_transfer.models.preprocessing import TF

# A group is a sequence of blocks of one width, as in the papers' tables.
_V1_GROUPS = (
    ("stem", r"conv1|conv_\w+_1(_|$)"),
    ("stage2", r"conv_\w+_[23](_|$)"),
    ("stage3", r"conv_\w+_[45](_|$)"),
    ("stage4", r"conv_\w+_([6-9]|1[01])(_|$)"),
    ("stage5", r"conv_\w+_1[23](_|$)"),
)
_V2_GROUPS = (
    ("stem", r"Conv1|bn_Conv1|expanded_conv_"),
    ("stage2", r"block_[12]_"),
    ("stage3", r"block_[345]_"),
    ("stage4", r"block_[6-9]_"),
    ("stage5", r"block_1[012]_"),
    ("stage6", r"block_1[345]_"),
    ("stage7", r"block_16_"),
    ("top", r"Conv_1|out_"),
)


# Layers that Keras names by a running number (hard-swish) follow their block.
_V3_SMALL_GROUPS = (
    ("stem", r"conv(_bn)?$"),
    ("stage1", r"expanded_conv_[a-z]"),
    ("stage2", r"expanded_conv_[12]_"),
    ("stage3", r"expanded_conv_[345]_"),
    ("stage4", r"expanded_conv_[67]_"),
    ("stage5", r"expanded_conv_([89]|10)_"),
    ("top", r"conv_1"),
)
_V3_LARGE_GROUPS = (
    ("stem", r"conv(_bn)?$|expanded_conv_[a-z]"),
    ("stage2", r"expanded_conv_[12]_"),
    ("stage3", r"expanded_conv_[345]_"),
    ("stage4", r"expanded_conv_[6-9]_"),
    ("stage5", r"expanded_conv_1[01]_"),
    ("stage6", r"expanded_conv_1[234]_"),
    ("top", r"conv_1"),
)

_COMMON: dict[str, Any] = {"preprocessing": TF, "image_size": 224, "licence": "Apache-2.0"}
_V3: dict[str, Any] = {
    **_COMMON,
    "family": "MobileNetV3",
    "paper": "Howard et al. 2019, https://arxiv.org/abs/1905.02244",
    "options": {"include_preprocessing": False},
}


def _v2_layers(block: Block) -> dict[str, str]:
    prefix = f"block_{block.number}" if block.number else "expanded_conv"
    return {
        f"{part}{norm}": f"{prefix}_{part}{norm.upper()}"
        for part in ("expand", "depthwise", "project")
        for norm in ("", "_bn")
    }


def _v2_names(ends: tuple[str, str, str, str], theirs: Parts) -> Callable[[], dict[str, str]]:
    """Map Keras's layer names to a package's: ``ends`` (stem and top, with their BatchNorm) and those of the blocks."""
    return lambda: {
        **dict(zip(("Conv1", "bn_Conv1", "Conv_1", "Conv_1_bn"), ends)),
        **match(inverted_residual_blocks((1, 2, 3, 4, 3, 3, 1), squeezes=False), _v2_layers, theirs),
    }


RECORDS = (
    application(
        "mobilenet",
        "MobileNet",
        family="MobileNet",
        groups=_V1_GROUPS,
        paper="Howard et al. 2017, https://arxiv.org/abs/1704.04861",
        **_COMMON,
    ),
    with_torch_variant(
        application(
            "mobilenet_v2",
            "MobileNetV2",
            family="MobileNetV2",
            groups=_V2_GROUPS,
            paper="Sandler et al. 2018, https://arxiv.org/abs/1801.04381",
            **_COMMON,
        ),
        Checkpoint(
            "torchvision",
            _v2_names(("features.0.0", "features.0.1", "features.18.0", "features.18.1"), torchvision_mobilenet_v2),
        ),
        Checkpoint("timm", _v2_names(("conv_stem", "bn1", "conv_head", "bn2"), timm)),
    ),
    application("mobilenet_v3_small", "MobileNetV3Small", groups=_V3_SMALL_GROUPS, **_V3),
    application("mobilenet_v3_large", "MobileNetV3Large", groups=_V3_LARGE_GROUPS, **_V3),
)
