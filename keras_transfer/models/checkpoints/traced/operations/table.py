"""The table of operations, which its modules fill, and what all of them use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value

OPERATIONS: dict[str, Callable[..., Any]] = {}
"""ATen's name of an operation, without underscores around it → a function of a builder and the operation's arguments."""


def operation(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table under these names."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def same(value: Value, tensor: Any) -> Value:
    """Return a value of the same shape and order."""
    return Value(tensor, value.shape, value.order)


def size(given: Any, length: int = 2) -> tuple[int, ...]:
    """Return one number, or as many as there are, as ``length`` numbers."""
    found = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    return tuple(int(n) for n in (found * length if len(found) == 1 else found))


def array(constant: Any) -> np.ndarray:
    """Return the values of a constant, float32."""
    if not isinstance(constant, Constant):
        raise Untranslated("weights that depend on the image")
    return np.ascontiguousarray(constant.tensor.detach().float().numpy())


def filled(layer: keras.layers.Layer, x: Any, weights: list[np.ndarray]) -> Any:
    """Apply a layer and set its weights."""
    y = layer(x)
    layer.set_weights(weights)
    return y
