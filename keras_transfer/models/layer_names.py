"""Layer names of a classifier: input, backbone, head. Does not import Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

INPUT_LAYERS = ("image", "grey_to_rgb", "preprocess")
LOGITS = "logits"
HEAD_LAYERS = ("pool", "dropout", LOGITS)


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers between preprocessing and head, in graph order."""
    return [layer for layer in model.layers if layer.name not in (*INPUT_LAYERS, *HEAD_LAYERS)]


def head_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers after the backbone: pool, dropout, logits."""
    return [layer for layer in model.layers if layer.name in HEAD_LAYERS]
