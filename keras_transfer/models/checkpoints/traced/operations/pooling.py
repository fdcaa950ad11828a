"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder, digits
from keras_transfer.models.checkpoints.traced.operations.shapes import squeeze, unsqueeze
from keras_transfer.models.checkpoints.traced.operations.table import operation, size
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, channels_last


@operation("adaptive_avg_pool2d")
def adaptive_avg_pool2d(make: Builder, x: Value, wanted: Any) -> Value:
    return _adaptive(make, x, wanted, "mean", layers.GlobalAveragePooling2D, layers.AveragePooling2D)


@operation("adaptive_max_pool2d")
def adaptive_max_pool2d(make: Builder, x: Value, wanted: Any) -> tuple[Value, None]:
    found = _adaptive(make, x, wanted, "largest", layers.GlobalMaxPooling2D, layers.MaxPooling2D)
    return found, None  # where it is, nobody asks


def _adaptive(make: Builder, x: Value, wanted: Any, what: str, whole: Any, parts: Any) -> Value:
    rows, columns = (
        n if given is None else given
        for n, given in zip(x.shape[2:], wanted if isinstance(wanted, (list, tuple)) else (wanted,) * 2)
    )
    x = channels_last(x)
    if (rows, columns) == (1, 1):
        y = make.layer(whole, what, keepdims=True)(x.tensor)
    elif x.shape[2] % rows or x.shape[3] % columns:
        raise Untranslated(f"adaptive pooling of {x.shape[2:]} to {(rows, columns)}")
    else:
        y = make.layer(parts, "pool", (x.shape[2] // rows, x.shape[3] // columns))(x.tensor)
    return Value(y, (*x.shape[:2], rows, columns), x.order)


@operation("avg_pool2d")
def avg_pool2d(
    make: Builder,
    x: Value,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil: bool = False,
    include: bool = True,
    divisor: Any = None,
) -> Value:
    sides, zeros = size(kernel), size(padding)
    stride = size(stride) if stride else sides
    x = channels_last(x)
    spaces, over = _pooled(x.shape[2:], sides, stride, zeros, ceil)
    if divisor is not None or (over and (zeros != (0, 0) or stride != sides)):
        raise Untranslated("average pooling beyond the edge")
    padded, share = "valid", None
    tensor = x.tensor
    if zeros != (0, 0):
        if include:
            tensor = make.layer(layers.ZeroPadding2D, "pad", zeros)(tensor)
        elif stride == (1, 1) and all(2 * z + 1 == k for z, k in zip(zeros, sides)):
            padded = "same"  # of which Keras counts only what is there
        else:
            tensor = make.layer(layers.ZeroPadding2D, "pad", zeros)(tensor)
            counts = [
                [sum(0 <= place * s - z + i < n for i in range(k)) for place in range(count)]
                for n, k, s, z, count in zip(x.shape[2:], sides, stride, zeros, spaces)
            ]
            share = math.prod(sides) / (np.array(counts[0])[:, None, None] * np.array(counts[1])[None, :, None])
    elif over:
        padded = "same"
    y = make.layer(layers.AveragePooling2D, "pool", sides, stride, padding=padded)(tensor)
    if share is not None:  # of the mean, by what lies beyond the edge
        y = make.layer(layers.Rescaling, "counted", digits(share))(y)
    return Value(y, (*x.shape[:2], *spaces), x.order)


@operation("avg_pool1d")
def avg_pool1d(
    make: Builder, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, include: bool = True
) -> Value:
    steps = size(stride, 1)[0] if stride else size(kernel, 1)[0]
    wide = unsqueeze(make, x, -1)
    sides, zeros = (size(kernel, 1)[0], 1), (size(padding, 1)[0], 0)
    return squeeze(make, avg_pool2d(make, wide, sides, (steps, 1), zeros, ceil, include), -1)


@operation("max_pool2d")
def max_pool2d(
    make: Builder, x: Value, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> Value:
    sides, zeros = size(kernel), size(padding)
    stride = size(stride) if stride else sides
    x = channels_last(x)
    spaces, over = _pooled(x.shape[2:], sides, stride, zeros, ceil)
    if size(dilation) != (1, 1):
        raise Untranslated("dilated pooling")
    tensor, padded = x.tensor, "valid"
    if zeros != (0, 0) and stride == (1, 1) and all(2 * z + 1 == k for z, k in zip(zeros, sides)):
        padded = "same"
    elif zeros != (0, 0) or over:
        reach = [(n - 1) * s + k for n, s, k in zip(spaces, stride, sides)]
        edges = [(z, max(0, r - n - z)) for z, r, n in zip(zeros, reach, x.shape[2:])]
        tensor = _edge_padded(make, tensor, edges)
    y = make.layer(layers.MaxPooling2D, "pool", sides, stride, padding=padded)(tensor)
    return Value(y, (*x.shape[:2], *spaces), x.order)


def _edge_padded(make: Builder, tensor: Any, edges: Sequence[tuple[int, int]]) -> Any:
    """Repeat the outermost rows and columns: what is beside a window already does not change its largest value."""
    for axis, (before, after) in enumerate(edges, 1):
        index: list[Any] = [slice(None)] * 4
        parts = [tensor]
        if before:
            index[axis] = slice(0, 1)
            parts.insert(0, ops.repeat(tensor[tuple(index)], before, axis=axis))
        if after:
            index[axis] = slice(-1, None)
            parts.append(ops.repeat(tensor[tuple(index)], after, axis=axis))
        if len(parts) > 1:
            tensor = make.layer(layers.Concatenate, "edge", axis=axis)(parts)
    return tensor


def _pooled(
    sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], zeros: Sequence[int], ceil: bool
) -> tuple[list[int], bool]:
    """Return the sizes after pooling, and whether a window reaches over the edge."""
    spaces, over = [], False
    for n, k, s, z in zip(sides, kernel, stride, zeros):
        whole = (n + 2 * z - k) // s + 1
        if ceil and (n + 2 * z - k) % s and whole * s < n + z:
            whole, over = whole + 1, True
        spaces.append(whole)
    return spaces, over
