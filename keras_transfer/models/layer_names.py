"""Layer names of a classifier: input, backbone, head. Does not import Keras."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

LOGITS = "logits"
# A number at the end is that of the backbone, where there are several; one after "tap" is that of an earlier feature map.
_INPUT = re.compile(r"image|(grey_to_rgb|preprocess)(__\d)?")
_HEAD = re.compile(rf"(tap\d+_)?(pool|unit|rms|compress|weigh)(__\d)?|features|dropout|{LOGITS}")

_VECTORS = re.compile(r"(tap\d+_)?(unit|rms|compress|weigh)(__\d)?|features")


def stays_float32(name: str) -> bool:
    """Return whether a layer computes in float32 in every precision.

    Preprocessing in half precision would lose bits of the pixels, the loss needs float32 logits, and the normalization of feature vectors
    costs nothing.
    """
    return name == LOGITS or bool(_INPUT.fullmatch(name) or _VECTORS.fullmatch(name))


def is_reserved(name: str) -> bool:
    """Return whether a layer of this name is not one of the backbone."""
    return bool(_INPUT.fullmatch(name) or _HEAD.fullmatch(name))


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers between preprocessing and head, in graph order."""
    return [layer for layer in model.layers if not is_reserved(layer.name)]


def head_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers after the backbone: pooling, dropout, logits."""
    return [layer for layer in model.layers if _HEAD.fullmatch(layer.name)]
