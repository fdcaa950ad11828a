"""EfficientNet B0 to B7 and EfficientNetV2 (keras.applications)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_names import (
    Parts,
    efficientnet_pytorch,
    inverted_residual_blocks,
    letter,
    match,
    timm,
    torchvision_efficientnet,
)
from keras_transfer.models.backbones.torch_variant import with_torch_variant
from keras_transfer.models.preprocessing import TF_128, TORCH

if TYPE_CHECKING:
    import keras

_V1_SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
_V2_SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "s": 384, "m": 480, "l": 480}


def _without_preprocessing(model: keras.Model) -> keras.Model:
    """Remove the preprocessing layers of EfficientNet (version 1 has no option for it).

    These divide by 255, normalise with statistics stored in the ImageNet weights and, only with ``weights="imagenet"``,
    scale once more; together they are the torch convention. With other weights that last step would be missing, so the
    record's preprocessing replaces all three.
    """
    import keras

    from keras_transfer.models.graph import Swap, graft

    inside = (keras.layers.Rescaling, keras.layers.Normalization)
    inputs = keras.Input(model.input_shape[1:], name="preprocessed")
    outputs = graft(model, inputs, swaps={id(layer): Swap(None) for layer in model.layers if isinstance(layer, inside)})
    return keras.Model(inputs, outputs, name=model.name)


def _groups(blocks: int) -> tuple[tuple[str, str], ...]:
    return (("stem", r"stem_"), *((f"block{i}", rf"block{i}[a-z]") for i in range(1, blocks + 1)), ("top", r"top_"))


# Blocks per stage of B0; the larger models multiply them (Tan & Le 2019, tables 1 and 8).
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_DEPTHS = {"b0": 1.0, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1}
_PARTS = {
    "expand": "expand_conv", "expand_bn": "expand_bn", "depthwise": "dwconv", "depthwise_bn": "bn",
    "reduce": "se_reduce", "restore": "se_expand", "project": "project_conv", "project_bn": "project_bn",
}  # fmt: skip


def _names(size: str, ends: tuple[str, str, str, str], theirs: Parts) -> Callable[[], dict[str, str]]:
    """Map our layer names to a package's: ``ends`` (stem and top, each with its BatchNorm) and those of the blocks."""
    repeats = [math.ceil(_DEPTHS[size] * count) for count in _REPEATS]
    return lambda: {
        **dict(zip(("stem_conv", "stem_bn", "top_conv", "top_bn"), ends)),
        **match(
            inverted_residual_blocks(repeats, squeezes=True),
            lambda block: {part: f"{letter(block)}_{name}" for part, name in _PARTS.items()},
            theirs,
        ),
    }


def _v1(size: str) -> Backbone:
    ends = ("features.0.0", "features.0.1", "features.8.0", "features.8.1")
    of_timm = Checkpoint("timm", _names(size, ("conv_stem", "bn1", "conv_head", "bn2"), timm))
    record = application(
        f"efficientnet_{size}",
        f"EfficientNet{size.upper()}",
        family="EfficientNet",
        preprocessing=TORCH,
        image_size=_V1_SIZES[size],
        groups=_groups(7),
        licence="Apache-2.0",
        paper="Tan & Le 2019, https://arxiv.org/abs/1905.11946",
        finish=_without_preprocessing,
        checkpoints=(
            Checkpoint(
                "efficientnet_pytorch",
                _names(size, ("_conv_stem", "_bn0", "_conv_head", "_bn1"), efficientnet_pytorch),
            ),
            of_timm,
        ),
    )
    of_torchvision = Checkpoint("torchvision", _names(size, ends, torchvision_efficientnet))
    if size in ("b5", "b6", "b7"):  # torchvision keeps TensorFlow's epsilon in these, timm does not
        return with_torch_variant(record, of_torchvision, epsilon=1e-3)
    return with_torch_variant(record, of_torchvision, of_timm)


def _v2(size: str) -> Backbone:
    return application(
        f"efficientnet_v2_{size}",
        f"EfficientNetV2{size.upper()}",
        family="EfficientNetV2",
        # The B sizes keep version 1's preprocessing.
        preprocessing=TORCH if size.startswith("b") else TF_128,
        image_size=_V2_SIZES[size],
        groups=_groups(7 if size in ("m", "l") else 6),
        licence="Apache-2.0",
        paper="Tan & Le 2021, https://arxiv.org/abs/2104.00298",
        options={"include_preprocessing": False},
    )


RECORDS = (*(_v1(size) for size in _V1_SIZES), *(_v2(size) for size in _V2_SIZES))
