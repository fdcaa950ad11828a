"""EfficientNet B0 to B7 and EfficientNetV2 (keras.applications)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.backbones.record import Backbone
from keras_transfer.models.preprocessing import TF_128, TORCH

if TYPE_CHECKING:
    import keras

_V1_SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}
_V2_SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "s": 384, "m": 480, "l": 480}


def _without_preprocessing(model: keras.Model) -> keras.Model:
    """Take the preprocessing layers out of EfficientNet (version 1 has no option for it).

    Inside, Keras divides by 255, normalises with statistics that come with the ImageNet weights and, only for
    ``weights="imagenet"``, scales once more; together they are the torch convention. Loading a weights file
    or none at all would leave that last step out, so the record's own preprocessing replaces all three.
    """
    import keras

    from keras_transfer.models.graph import Swap, graft

    inside = (keras.layers.Rescaling, keras.layers.Normalization)
    inputs = keras.Input(model.input_shape[1:], name="preprocessed")
    outputs = graft(model, inputs, swaps={id(layer): Swap(None) for layer in model.layers if isinstance(layer, inside)})
    return keras.Model(inputs, outputs, name=model.name)


def _groups(blocks: int) -> tuple[tuple[str, str], ...]:
    return (("stem", r"stem_"), *((f"block{i}", rf"block{i}[a-z]") for i in range(1, blocks + 1)), ("top", r"top_"))


def _v1(size: str) -> Backbone:
    return application(
        f"efficientnet_{size}",
        f"EfficientNet{size.upper()}",
        family="EfficientNet",
        preprocessing=TORCH,
        image_size=_V1_SIZES[size],
        groups=_groups(7),
        licence="Apache-2.0",
        paper="Tan & Le 2019, https://arxiv.org/abs/1905.11946",
        finish=_without_preprocessing,
    )


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
        include_preprocessing=False,
    )


RECORDS = (*(_v1(size) for size in _V1_SIZES), *(_v2(size) for size in _V2_SIZES))
