"""Tensors of a traced program, whose axes may lie in another order than the program thinks.

PyTorch's networks compute on (batch, channels, height, width), Keras's layers on (batch, height, width, channels). A :class:`Value` keeps
the order in which its axes lie apart from the order that the program sees, so that permuting costs nothing, and a tensor is moved only
where a layer needs another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
from keras import ops

from keras_transfer.models.checkpoints.layers import Tensor

BATCH = 2
"""Images in the batch with which a program is traced."""


class Untranslated(ValueError):
    """A step of a program that has no counterpart here; the message says which."""


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the images.

    Attributes:
        tensor: as Keras has it. Its first axis is the batch, or the batch times what was merged into it.
        shape: as the program sees it, with :data:`BATCH` images.
        order: for each axis that the program sees, the axis of ``tensor``.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def batch(self) -> int:
        """The axis that holds the batch, as the program sees it."""
        return self.order.index(0)

    @property
    def inner(self) -> int:
        """The number of rows for each image: 1, unless something was merged into the batch."""
        return self.shape[self.batch] // BATCH

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def axis(self, axis: int) -> int:
        """Return where an axis of the program lies; it may be negative."""
        return self.order[axis % self.rank]

    def lying(self, axis: int) -> int:
        """Return the size of an axis of ``tensor``."""
        return self.shape[self.order.index(axis)]


def plain(value: Value) -> tuple[int, ...]:
    """Return the order in which the batch is first, and the other axes as the program sees them."""
    rest = iter(range(1, value.rank))
    return tuple(0 if axis == value.batch else next(rest) for axis in range(value.rank))


def laid(value: Value, order: Sequence[int]) -> Value:
    """Return the value with its axes in another order; ``order[batch]`` must be 0."""
    order = tuple(order)
    if value.order == order:
        return value
    if order[value.batch] != 0:
        raise Untranslated("the batch is not the first axis")
    moved = [0] * value.rank
    for old, new in zip(value.order, order):
        moved[new] = old
    return replace(value, tensor=keras.layers.Permute(moved[1:])(value.tensor), order=order)


def channels_last(value: Value) -> Value:
    """Return the value with the program's second axis last, as Keras's layers want it."""
    if value.batch != 0:
        raise Untranslated("the batch is not the first axis")
    return laid(value, (0, value.rank - 1, *range(1, value.rank - 1)))


def last_axis_last(value: Value) -> Value:
    """Return the value with the program's last axis last."""
    if value.order[-1] == value.rank - 1:
        return value
    if value.batch == value.rank - 1:
        raise Untranslated("the batch is the last axis")
    return laid(value, plain(value))


def permuted(value: Value, axes: Sequence[int]) -> Value:
    """Permute the axes as the program sees them."""
    axes = [axis % value.rank for axis in axes]
    return Value(value.tensor, tuple(value.shape[axis] for axis in axes), tuple(value.order[axis] for axis in axes))


def reshaped(value: Value, shape: Sequence[int]) -> Value:
    """Give the value another shape; axes that are merged are moved beside each other first."""
    wanted = _without_minus(value.shape, shape)
    if wanted == value.shape:
        return value
    groups = _groups(value.shape, wanted)
    groups.sort(key=lambda group: min(value.order[axis] for axis in group[0]) if group[0] else value.rank)
    if any(value.batch in source and _first(source, value.shape) != value.batch for source, _ in groups):
        raise Untranslated(f"a reshape of {value.shape} to {wanted} that merges other axes before the batch")
    lying = [axis for source, _ in groups for axis in _batch_first(source, value.batch)]
    order = [0] * value.rank
    for place, axis in enumerate(lying):
        order[axis] = place
    if not _in_place(value, groups):
        value = laid(value, order)
    batch_group = next(target for source, target in groups if value.batch in source)
    batch = _first(batch_group, wanted)
    if wanted[batch] % BATCH:
        raise Untranslated(f"a reshape of {value.shape} to {wanted} that splits the batch")
    targets = [axis for _, target in groups for axis in _batch_first(target, batch)]
    sizes = [wanted[axis] for axis in targets]
    if wanted[batch] == value.shape[value.batch]:
        tensor = keras.layers.Reshape(tuple(sizes[1:]))(value.tensor)
    else:
        tensor = ops.reshape(value.tensor, (-1, *sizes[1:]))
    new = [0] * len(wanted)
    for place, axis in enumerate(targets):
        new[axis] = place
    return Value(tensor, wanted, tuple(new))


def _first(axes: Sequence[int], shape: Sequence[int]) -> int:
    """Return the first of these axes whose size is not 1."""
    return next((axis for axis in axes if shape[axis] != 1), axes[0])


def _batch_first(axes: Sequence[int], batch: int) -> list[int]:
    return [axis for axis in axes if axis == batch] + [axis for axis in axes if axis != batch]


def _in_place(value: Value, groups: list[tuple[list[int], list[int]]]) -> bool:
    """Return whether the axes of each group, but those of size 1, lie beside each other already, and the groups in this order."""
    lying = [value.order[axis] for source, _ in groups for axis in source if value.shape[axis] != 1]
    return lying == sorted(lying)


def _without_minus(old: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    known = math.prod(n for n in shape if n != -1)
    return tuple(math.prod(old) // max(known, 1) if n == -1 else int(n) for n in shape)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return which axes of ``old`` become which axes of ``new``, in the smallest groups of equal size."""
    if math.prod(old) != math.prod(new):
        raise Untranslated(f"a reshape of {tuple(old)} to {tuple(new)}")
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        source, target = [i], [j]
        a, b = old[i], new[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
                source.append(i - 1)
            else:
                b, j = b * new[j], j + 1
                target.append(j - 1)
        found.append((source, target))
    found[-1][0].extend(range(i, len(old)))
    found[-1][1].extend(range(j, len(new)))
    return found
