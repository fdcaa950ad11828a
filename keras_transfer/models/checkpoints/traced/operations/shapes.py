"""Operations that change nothing, or the shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.table import operation, size
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, permuted, reshaped


@operation(
    "dropout", "contiguous", "clone", "detach", "alias", "to", "to_copy", "type_as", "feature_dropout", "alpha_dropout"
)
def unchanged(make: Builder, x: Value, *_: Any, **__: Any) -> Value:
    return x


@operation("assert_tensor_metadata")
def nothing(make: Builder, *_: Any, **__: Any) -> None:
    return None


@operation("getitem")
def item(make: Builder, given: Sequence[Any], place: int) -> Any:
    return given[place]


@operation("view", "reshape", "unsafe_view")
def view(make: Builder, x: Value, shape: Sequence[int]) -> Value:
    return reshaped(x, shape)


@operation("reshape_as", "view_as")
def view_as(make: Builder, x: Value, other: Value) -> Value:
    return reshaped(x, other.shape)


@operation("flatten")
def flatten(make: Builder, x: Value, start: int = 0, end: int = -1) -> Value:
    start, end = start % x.rank, end % x.rank
    return reshaped(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@operation("unflatten")
def unflatten(make: Builder, x: Value, axis: int, sizes: Sequence[int]) -> Value:
    axis %= x.rank
    rest = x.shape[axis] // max(1, abs(math.prod(n for n in sizes if n != -1)))
    return reshaped(x, (*x.shape[:axis], *(rest if n == -1 else n for n in sizes), *x.shape[axis + 1 :]))


@operation("permute")
def permute(make: Builder, x: Value, axes: Sequence[int]) -> Value:
    return permuted(x, axes)


@operation("transpose", "swapaxes")
def transpose(make: Builder, x: Value, a: int, b: int) -> Value:
    axes = list(range(x.rank))
    axes[a], axes[b] = axes[b], axes[a]
    return permuted(x, axes)


@operation("t", "mT")
def t(make: Builder, x: Value) -> Value:
    return transpose(make, x, -2, -1)


@operation("unsqueeze")
def unsqueeze(make: Builder, x: Value, axis: int) -> Value:
    axis %= x.rank + 1
    return reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:]))


@operation("squeeze")
def squeeze(make: Builder, x: Value, axes: Any = None) -> Value:
    chosen = range(x.rank) if axes is None else [axis % x.rank for axis in size(axes, 1)]
    return reshaped(x, [n for axis, n in enumerate(x.shape) if n != 1 or axis not in chosen or axis == x.batch])


@operation("expand")
def expand(make: Builder, x: Value, shape: Sequence[int], **_: Any) -> Value:
    x = raised(x, len(shape))
    for axis, wanted in enumerate(shape):
        if wanted not in (-1, x.shape[axis]):
            x = repeated(x, axis, wanted)
    return x


@operation("expand_as")
def expand_as(make: Builder, x: Value, other: Value) -> Value:
    return expand(make, x, other.shape)


@operation("repeat")
def repeat(make: Builder, x: Value, times: Sequence[int]) -> Value:
    x = raised(x, len(times))
    for axis, count in enumerate(times):
        if count != 1:
            if axis == x.batch:
                raise Untranslated("a repeated batch")
            shape = tuple(n * count if i == axis else n for i, n in enumerate(x.shape))
            x = Value(ops.concatenate([x.tensor] * count, axis=x.axis(axis)), shape, x.order)
    return x


@operation("repeat_interleave")
def repeat_interleave(make: Builder, x: Value, count: int, axis: int, **_: Any) -> Value:
    axis %= x.rank
    return repeated(x, axis, x.shape[axis] * count)


def repeated(x: Value, axis: int, wanted: int) -> Value:
    """Repeat each slice along an axis until there are ``wanted``."""
    if axis == x.batch or wanted % x.shape[axis]:
        raise Untranslated("a repeated batch")
    shape = tuple(wanted if i == axis else n for i, n in enumerate(x.shape))
    return Value(ops.repeat(x.tensor, wanted // x.shape[axis], axis=x.axis(axis)), shape, x.order)


def raised(x: Value, rank: int) -> Value:
    """Return the value with axes of size 1 before the others."""
    return reshaped(x, (1,) * (rank - x.rank) + x.shape) if rank > x.rank else x
