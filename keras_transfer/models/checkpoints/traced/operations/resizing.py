"""Resizing, and patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers

from keras_transfer.models.checkpoints.traced.builder import Builder, digits
from keras_transfer.models.checkpoints.traced.operations.parts import pad, slice_, stack, taken
from keras_transfer.models.checkpoints.traced.operations.table import operation, size
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, channels_last, permuted, reshaped


@operation("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d")
def upsample(make: Builder, x: Value, wanted: Any, corners: Any = None, *_: Any, **__: Any) -> Value:
    assert make.step is not None and make.step.shape is not None
    kind = make.step.operation.removeprefix("upsample_").removesuffix("2d")
    rows, columns = make.step.shape[2:]
    factors = rows / x.shape[2], columns / x.shape[3]
    if kind != "bicubic" and corners is not True and all(f % 1 == 0 for f in factors):
        if factors == (1, 1):
            return x
        x = channels_last(x)
        size_ = (int(factors[0]), int(factors[1]))
        y = make.layer(layers.UpSampling2D, "up", size_, interpolation=kind)(x.tensor)
        return Value(y, (*x.shape[:2], rows, columns), x.order)
    for axis, count in ((2, rows), (3, columns)):
        x = _resized(make, x, axis, count, kind, corners is True)
    return x


def _resized(make: Builder, x: Value, axis: int, count: int, kind: str, corners: bool) -> Value:
    """Resize along an axis: a sum of slices, each times its share."""
    whole = x.shape[axis]
    if count == whole:
        return x
    if kind == "nearest":
        return taken(x, axis, [place * whole // count for place in range(count)])
    at = np.arange(count, dtype=np.float64)
    at = at * (whole - 1) / max(count - 1, 1) if corners else (at + 0.5) * whole / count - 0.5
    if kind == "bilinear":
        at = np.maximum(at, 0)
    first = np.floor(at).astype(int)
    shares = _linear(at - first) if kind == "bilinear" else _cubic(at - first)
    taps = []
    for offset, share in shares.items():
        tap = taken(x, axis, np.clip(first + offset, 0, whole - 1).tolist())
        shape = [1] * x.rank
        shape[x.axis(axis)] = count
        taps.append(make.layer(layers.Rescaling, "share", digits(share.reshape(shape)[0]))(tap.tensor))
    return Value(make.layer(layers.Add, "resized")(taps), tap.shape, x.order)


def _linear(t: np.ndarray) -> dict[int, np.ndarray]:
    return {0: 1 - t, 1: t}


def _cubic(t: np.ndarray, a: float = -0.75) -> dict[int, np.ndarray]:
    """Return the shares of four neighbours (Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711), with PyTorch's constant."""

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return {-1: far(t + 1), 0: near(t), 1: near(1 - t), 2: far(2 - t)}


@operation("im2col")
def im2col(make: Builder, x: Value, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Value:
    sides, steps, (up, left) = size(kernel), size(stride), size(padding)
    if size(dilation) != (1, 1) or make.step is None or make.step.shape is None:
        raise Untranslated("dilated patches")
    x = pad(make, x, (left, left, up, up))
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], sides, steps))
    parts = []
    for i in range(sides[0]):
        row = slice_(make, x, 2, i, i + (rows - 1) * steps[0] + 1, steps[0])
        parts += [slice_(make, row, 3, j, j + (columns - 1) * steps[1] + 1, steps[1]) for j in range(sides[1])]
    return reshaped(stack(make, parts, 2), make.step.shape)


@operation("col2im")
def col2im(make: Builder, x: Value, wanted: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Value:
    sides, (height, width) = size(kernel), size(wanted)
    if sides != size(stride) or size(padding) != (0, 0) or height % sides[0] or width % sides[1]:
        raise Untranslated("patches that overlap")
    rows, columns = height // sides[0], width // sides[1]
    x = reshaped(x, (x.shape[0], -1, *sides, rows, columns))
    return reshaped(permuted(x, (0, 1, 4, 2, 5, 3)), (x.shape[0], x.shape[1], height, width))


@operation("pixel_unshuffle")
def pixel_unshuffle(make: Builder, x: Value, factor: int) -> Value:
    n, c, h, w = x.shape
    x = reshaped(x, (n, c, h // factor, factor, w // factor, factor))
    return reshaped(permuted(x, (0, 1, 3, 5, 2, 4)), (n, c * factor**2, h // factor, w // factor))
