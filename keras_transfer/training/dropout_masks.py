"""Dropout of a divided batch: masks are drawn for the whole batch, as one process draws them, and each part takes its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_transfer.keras_compat import replace_method, restore_method
from keras_transfer.models.graph import flat_layers


def replace_dropout(model: keras.Model, images: Callable[[], int], rows: Callable[[Any, int], Any]) -> None:
    """Give every Dropout layer of a model the masks of the whole batch.

    Args:
        model: what trains.
        images: returns the size of the whole batch that is being computed.
        rows: returns the rows of the present part, given factors (images, …) for the whole batch, and how many rows it has.
    """
    for layer in _dropouts(model):
        replace_method(layer, "call", _call(layer, images, rows))


def restore_dropout(model: keras.Model) -> None:
    """Let every Dropout layer draw for itself again."""
    for layer in _dropouts(model):
        restore_method(layer, "call")


def _call(
    layer: keras.layers.Dropout, images: Callable[[], int], rows: Callable[[Any, int], Any]
) -> Callable[..., Any]:
    def call(inputs: Any, training: bool = False) -> Any:
        if not training or not layer.rate:
            return inputs
        whole = (images(), *inputs.shape[1:])
        shape, noise = whole, None
        if layer.noise_shape is not None:
            noise = shape = tuple(wanted or size for wanted, size in zip(layer.noise_shape, whole))
        factors = keras.random.dropout(keras.ops.ones(shape, inputs.dtype), layer.rate, noise, layer.seed_generator)
        return inputs * (rows(factors, inputs.shape[0]) if shape[0] == whole[0] else factors)

    return call


def _dropouts(model: keras.Model) -> list[keras.layers.Dropout]:
    """Return the Dropout layers; subclasses may draw as they like."""
    return [layer for layer in flat_layers(model) if type(layer) is keras.layers.Dropout]
