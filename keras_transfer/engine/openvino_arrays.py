"""OpenVINO builders for operations on arrays: arithmetic with numbers, sums, repetition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import openvino.opset13 as ops

from keras_transfer.engine.openvino_layout import (
    Node,
    NotTranslatable,
    axis_of,
    channels_first,
    channels_last,
    integers,
)

Shapes = list[tuple[int, ...]]

ARITHMETIC: dict[str, Callable[[Node, Node], Node]] = {
    "Add": ops.add,
    "Subtract": ops.subtract,
    "Multiply": ops.multiply,
    "Divide": ops.divide,
    "TrueDivide": ops.divide,
    "Minimum": ops.minimum,
    "Maximum": ops.maximum,
}
"""Class name of an operation of two arguments → OpenVINO's."""


def arithmetic(operation: Any, arguments: Sequence[Any], made: Mapping[int, Node]) -> Node:
    """Apply an operation to two tensors of the same rank, or to a tensor and a number.

    Args:
        operation: one of :data:`ARITHMETIC`.
        arguments: of its call.
        made: ``id(tensor)`` → node, for the tensors among them.
    """
    ranks = {len(each.shape) for each in arguments if id(each) in made}
    numbers = [each for each in arguments if id(each) not in made]
    if len(arguments) != 2 or len(ranks) != 1 or not all(isinstance(each, (int, float)) for each in numbers):
        raise NotTranslatable(f"{operation.name} ({type(operation).__name__} of tensors of different ranks)")
    first, second = (made[id(each)] if id(each) in made else np.float32(each) for each in arguments)
    return ARITHMETIC[type(operation).__name__](first, second)


def _subtract(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    return ops.subtract(*inputs)


def _one(function: Callable[[Node], Node]) -> Callable[[Any, list[Node], Shapes], Node]:
    return lambda operation, inputs, shapes: function(inputs[0])


def _reduce(function: Callable[..., Node]) -> Callable[[Any, list[Node], Shapes], Node]:
    def build(operation: Any, inputs: list[Node], shapes: Shapes) -> Node:
        rank, axes = len(shapes[0]), operation.axis
        axes = [axes] if isinstance(axes, int) else axes
        if axes is None or (rank == 4 and not operation.keepdims):
            raise NotTranslatable(f"{operation.name} ({type(operation).__name__} over axes {operation.axis})")
        return function(inputs[0], integers(*(axis_of(axis, rank) for axis in axes)), keep_dims=operation.keepdims)

    return build


def _repeat(operation: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Each element of an axis so many times in a row."""
    rank, axis = len(shapes[0]), operation.axis
    if not isinstance(axis, int) or not isinstance(operation.repeats, int) or shapes[0][axis] is None:
        raise NotTranslatable(f"{operation.name} (Repeat of {operation.repeats} along {axis})")
    places = np.repeat(np.arange(shapes[0][axis], dtype=np.int64), operation.repeats)
    return ops.gather(inputs[0], places, integers(axis_of(axis, rank)))


def _upsample(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Each row and column so many times in a row."""
    if layer.interpolation != "nearest" or None in shapes[0][1:3]:
        raise NotTranslatable(f"{layer.name} (UpSampling2D of an unknown size, or by {layer.interpolation})")
    x, factors = inputs[0], layer.size if isinstance(layer.size, (tuple, list)) else (layer.size, layer.size)
    for axis, times in enumerate(factors, 1):
        places = np.repeat(np.arange(shapes[0][axis], dtype=np.int64), times)
        x = ops.gather(x, places, integers(axis_of(axis, 4)))
    return x


def _permute(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Reorder axes before the last: by gathering rows, since OpenVINO 2026.4 takes some transpositions of many axes for a plain reshape."""
    shape, rank = shapes[0], len(shapes[0])
    if layer.dims[-1] != rank - 1 and rank <= 4:
        moved = ops.transpose(channels_last(inputs[0], rank), integers(0, *layer.dims))
        return channels_first(moved, rank)
    if None in shape[1:] or layer.dims[-1] != rank - 1:
        raise NotTranslatable(f"{layer.name} (Permute of an unknown size, or of the last of many axes)")
    sizes = shape[1:-1]
    places = np.arange(math.prod(sizes)).reshape(sizes).transpose([axis - 1 for axis in layer.dims[:-1]])
    rows = ops.reshape(channels_last(inputs[0], rank), integers(0, math.prod(sizes), shape[-1]), True)
    x = ops.gather(rows, places.reshape(-1).astype(np.int64), integers(1))
    return channels_first(ops.reshape(x, integers(0, *places.shape, shape[-1]), True), rank)


ARRAY_BUILDERS = {
    "Subtract": _subtract,
    "Absolute": _one(ops.abs),
    "Exp": _one(ops.exp),
    "Sqrt": _one(ops.sqrt),
    "Square": _one(lambda x: ops.multiply(x, x)),
    "Sum": _reduce(ops.reduce_sum),
    "Mean": _reduce(ops.reduce_mean),
    "Repeat": _repeat,
    "Permute": _permute,
    "UpSampling2D": _upsample,
}
"""Class name of a Keras layer or operation → its builder."""
