"""Parts of tensors: slices, joined, padded, in another order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.shapes import unsqueeze
from keras_transfer.models.checkpoints.traced.operations.table import operation, size
from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, channels_last, laid


@operation("slice")
def slice_(make: Builder, x: Value, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    axis %= x.rank
    part = slice(*slice(start, end, step).indices(x.shape[axis]))
    count = len(range(x.shape[axis])[part])
    if count == x.shape[axis] and step == 1:
        return x
    if axis == x.batch:
        raise Untranslated("a part of the batch")
    index = [slice(None)] * x.rank
    index[x.axis(axis)] = slice(
        part.start or None, None if part.stop >= x.shape[axis] else part.stop, None if step == 1 else step
    )
    shape = tuple(count if i == axis else n for i, n in enumerate(x.shape))
    return Value(x.tensor[tuple(index)], shape, x.order)


@operation("narrow")
def narrow(make: Builder, x: Value, axis: int, start: int, length: int) -> Value:
    return slice_(make, x, axis, start, start + length)


@operation("select")
def select(make: Builder, x: Value, axis: int, place: int) -> Value:
    axis %= x.rank
    if axis == x.batch:
        raise Untranslated("a part of the batch")
    index: list[Any] = [slice(None)] * x.rank
    place %= x.shape[axis]
    index[x.axis(axis)] = place
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    gone = x.axis(axis)
    order = tuple(n - (n > gone) for i, n in enumerate(x.order) if i != axis)
    return Value(x.tensor[tuple(index)], shape, order)


@operation("unbind")
def unbind(make: Builder, x: Value, axis: int = 0) -> list[Value]:
    return [select(make, x, axis, place) for place in range(x.shape[axis])]


@operation("split_with_sizes")
def split_with_sizes(make: Builder, x: Value, sizes: Sequence[int], axis: int = 0) -> list[Value]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice_(make, x, axis, start, end) for start, end in itertools.pairwise(ends)]


@operation("split")
def split(make: Builder, x: Value, each: Any, axis: int = 0) -> list[Value]:
    if isinstance(each, (list, tuple)):
        return split_with_sizes(make, x, each, axis)
    whole = x.shape[axis]
    return [slice_(make, x, axis, start, min(whole, start + each)) for start in range(0, whole, each)]


@operation("chunk")
def chunk(make: Builder, x: Value, count: int, axis: int = 0) -> list[Value]:
    return split(make, x, -(-x.shape[axis] // count), axis)


@operation("roll")
def roll(make: Builder, x: Value, shifts: Any, axes: Any = ()) -> Value:
    for shift, axis in zip(size(shifts, 1), size(axes, 1)):
        count = x.shape[axis]
        shift %= count
        if shift:
            x = cat(make, [slice_(make, x, axis, count - shift, count), slice_(make, x, axis, 0, count - shift)], axis)
    return x


@operation("cat", "concat", "concatenate")
def cat(make: Builder, given: Sequence[Any], axis: int = 0) -> Value:
    like = next(one for one in given if isinstance(one, Value))
    axis %= like.rank
    if axis == like.batch:
        raise Untranslated("images joined along the batch")
    values = [one for one in given if (one.rank == like.rank if isinstance(one, Value) else one.tensor.numel())]
    parts = []
    for one in values:
        if isinstance(one, Value):
            parts.append(laid(one, like.order).tensor)
        else:
            parts.append(make.spread(one, like, tuple(one.tensor.shape)))
    width = sum(int((one.shape if isinstance(one, Value) else one.tensor.shape)[axis]) for one in values)
    shape = tuple(width if i == axis else n for i, n in enumerate(like.shape))
    return Value(make.layer(layers.Concatenate, "cat", axis=like.axis(axis))(parts), shape, like.order)


@operation("stack")
def stack(make: Builder, given: Sequence[Any], axis: int = 0) -> Value:
    first = next(one for one in given if isinstance(one, Value))
    axis %= first.rank + 1
    raised_ = [
        unsqueeze(make, one, axis) if isinstance(one, Value) else Constant(one.tensor.unsqueeze(axis), one.name)
        for one in given
    ]
    return cat(make, raised_, axis)


@operation("pad")
def pad(make: Builder, x: Value, sides: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    if mode == "reflect" and min(sides) >= 0:
        for number in range(len(sides) // 2):
            x = _mirrored(x, x.rank - 1 - number, *sides[2 * number : 2 * number + 2])
        return x
    if mode != "constant":
        raise Untranslated(f"padding by {mode}")
    for number in range(len(sides) // 2):
        axis, before, after = x.rank - 1 - number, sides[2 * number], sides[2 * number + 1]
        if before < 0 or after < 0:
            x = slice_(make, x, axis, max(0, -before), x.shape[axis] - max(0, -after))
    rows = [[max(0, n) for n in sides[2 * i : 2 * i + 2]] for i in range(len(sides) // 2)]
    if not any(map(any, rows)):
        return x
    if x.rank == 4 and len(rows) <= 2 and x.batch == 0 and not value:
        x = channels_last(x)
        rows += [[0, 0]] * (2 - len(rows))
        tensor = make.layer(layers.ZeroPadding2D, "pad", (tuple(rows[1]), tuple(rows[0])))(x.tensor)
        return Value(tensor, (*x.shape[:2], x.shape[2] + sum(rows[1]), x.shape[3] + sum(rows[0])), x.order)
    for number, (before, after) in enumerate(rows):
        if (
            value == -math.inf
        ):  # before the largest of a window is taken, which the outermost slices again do not change
            axis = x.rank - 1 - number
            x = taken(x, axis, np.clip(np.arange(-before, x.shape[axis] + after), 0, x.shape[axis] - 1).tolist())
            continue
        x = _surrounded(x, x.rank - 1 - number, before, after, float(value or 0))
    return x


def _surrounded(x: Value, axis: int, before: int, after: int, value: float) -> Value:
    """Add slices of one value along an axis, as copies of the first slice times 0."""
    index = [slice(None)] * x.rank
    index[x.axis(axis)] = slice(0, 1)
    zero = layers.Rescaling(0.0, value)(x.tensor[tuple(index)])
    place = x.axis(axis)
    parts = [ops.repeat(zero, n, axis=place) if n > 1 else zero if n else None for n in (before, after)]
    joined = [part for part in (parts[0], x.tensor, parts[1]) if part is not None]
    shape = tuple(n + before + after if i == axis else n for i, n in enumerate(x.shape))
    return Value(ops.concatenate(joined, axis=place), shape, x.order)


def _mirrored(x: Value, axis: int, before: int, after: int) -> Value:
    """Continue an axis by its mirror image, without its outermost slices."""
    count = x.shape[axis]
    places = [*range(before, 0, -1), *range(count), *range(count - 2, count - 2 - after, -1)]
    return taken(x, axis, places)


def taken(x: Value, axis: int, places: Sequence[int]) -> Value:
    """Return slices along an axis in another order or number: runs of neighbours are cut out and joined."""
    if list(places) == list(range(x.shape[axis])):
        return x
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    index: list[Any] = [slice(None)] * x.rank
    parts = []
    for start, end in runs:
        index[x.axis(axis)] = slice(start, end)
        parts.append(x.tensor[tuple(index)])
    shape = tuple(len(places) if i == axis else n for i, n in enumerate(x.shape))
    return Value(ops.concatenate(parts, axis=x.axis(axis)) if len(parts) > 1 else parts[0], shape, x.order)
