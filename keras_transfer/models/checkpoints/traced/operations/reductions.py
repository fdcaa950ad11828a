"""Means, sums and largest values along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.arithmetic import mul, sqrt, sub
from keras_transfer.models.checkpoints.traced.operations.shapes import squeeze
from keras_transfer.models.checkpoints.traced.operations.table import operation, same, size
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, channels_last


def _reduced(x: Value, tensor: Any, axes: Sequence[int], keep: bool) -> Value:
    if keep:
        return Value(tensor, tuple(1 if axis in axes else n for axis, n in enumerate(x.shape)), x.order)
    gone = [x.order[axis] for axis in axes]
    left = [axis for axis in range(x.rank) if axis not in axes]
    order = tuple(x.order[axis] - sum(place < x.order[axis] for place in gone) for axis in left)
    return Value(tensor, tuple(x.shape[axis] for axis in left), order)


def _axes(x: Value, axes: Any) -> list[int]:
    if axes is None or axes == ():
        raise Untranslated("a reduction over the batch")
    found = sorted(axis % x.rank for axis in size(axes, 1))
    if x.batch in found:
        raise Untranslated("a reduction over the batch")
    return found


@operation("mean")
def mean(make: Builder, x: Value, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    found = _axes(x, axes)
    if x.rank == 4 and found == [2, 3] and x.batch == 0:
        x = channels_last(x)
        y = make.layer(layers.GlobalAveragePooling2D, "mean", keepdims=keep)(x.tensor)
    else:
        y = ops.mean(x.tensor, axis=tuple(sorted(x.order[axis] for axis in found)), keepdims=keep)
    return _reduced(x, y, found, keep)


@operation("sum")
def sum_(make: Builder, x: Value, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    found = _axes(x, axes)
    y = ops.sum(x.tensor, axis=tuple(sorted(x.order[axis] for axis in found)), keepdims=keep)
    return _reduced(x, y, found, keep)


@operation("amax")
def amax(make: Builder, x: Value, axes: Any = None, keep: bool = False) -> Value:
    for axis in _axes(x, axes):
        index: list[Any] = [slice(None)] * x.rank
        parts = []
        for place in range(x.shape[axis]):
            index[x.axis(axis)] = slice(place, place + 1)
            parts.append(x.tensor[tuple(index)])
        tensor = make.layer(layers.Maximum, "largest")(parts) if len(parts) > 1 else x.tensor
        x = Value(tensor, tuple(1 if i == axis else n for i, n in enumerate(x.shape)), x.order)
    return x if keep else squeeze(make, x, axes)


@operation("max")
def max_(make: Builder, x: Value, axis: Any = None, keep: bool = False) -> Any:
    return amax(make, x, axis, keep), None  # where it is, nobody asks


@operation("adaptive_avg_pool1d")
def adaptive_avg_pool1d(make: Builder, x: Value, wanted: Any) -> Value:
    if size(wanted, 1) != (1,):
        raise Untranslated("adaptive pooling to more than one place")
    return mean(make, x, -1, True)


@operation("linalg_vector_norm", "norm")
def vector_norm(make: Builder, x: Value, power: float = 2, axes: Any = None, keep: bool = False, **_: Any) -> Value:
    if power != 2:
        raise Untranslated(f"a norm of power {power}")
    squares = sum_(make, same(x, ops.square(x.tensor)), axes, keep)
    return same(squares, ops.sqrt(ops.maximum(squares.tensor, 1e-24)))


@operation("var", "std")
def variance(
    make: Builder,
    x: Value,
    axes: Any = None,
    unbiased: Any = True,
    keep: bool = False,
    *,
    correction: Any = None,
    **_: Any,
) -> Value:
    assert make.step is not None
    found = _axes(x, axes)
    keep = bool(make.step.kwargs.get("keepdim", keep))
    less = (1 if unbiased else 0) if correction is None else int(correction)
    middle = mean(make, x, axes, True)
    count = math.prod(x.shape[axis] for axis in found)
    squares = mul(make, (gap := sub(make, x, middle)), gap)
    y = mul(make, sum_(make, squares, axes, keep), 1 / (count - less))
    return sqrt(make, y) if make.step.operation == "std" else y
