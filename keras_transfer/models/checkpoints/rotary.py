"""Rotary positions: queries and keys are turned by angles that grow with the position (Su et al. 2021, https://arxiv.org/abs/2104.09864).

The tables of cosines and sines are constants of two ``Rescaling`` layers, which all blocks share: they never train, and a saved model holds
them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_transfer.models.checkpoints.layers import Tensor


def rotary(angles: np.ndarray, prefix: int, interleaved: bool, name: str) -> Callable[[Tensor], Tensor]:
    """Return a function that turns queries or keys (batch, tokens, heads, channels).

    Args:
        angles: of each pair of channels, in radians, (patches, channels / 2).
        prefix: number of tokens before the patches, which are not turned.
        interleaved: whether channels 2i and 2i + 1 are a pair, or i and i + channels / 2.
        name: start of the layers' names.
    """
    angles = np.concatenate([np.zeros((prefix, angles.shape[1])), angles.astype(np.float64)])
    cos, sin = np.cos(angles), np.sin(angles)
    if interleaved:
        cos, sin = (np.stack(pair, -1).reshape(len(angles), -1) for pair in ((cos, cos), (-sin, sin)))
    else:
        cos, sin = np.concatenate([cos, cos], -1), np.concatenate([-sin, sin], -1)
    by_cos, by_sin = _times(cos, f"{name}_cos"), _times(sin, f"{name}_sin")

    def turn(x: Tensor) -> Tensor:
        return ops.add(by_cos(x), by_sin(_swapped_pairs(x) if interleaved else _swapped_halves(x)))

    return turn


def _times(table: np.ndarray, name: str) -> keras.layers.Layer:
    # Nine digits are enough for float32, and keep a saved model's configuration short.
    rows = [[[float(f"{value:.9g}") for value in row]] for row in table]
    return keras.layers.Rescaling(rows, name=name, dtype="float32")


def _swapped_halves(x: Tensor) -> Tensor:
    half = int(x.shape[-1]) // 2
    return ops.concatenate([x[..., half:], x[..., :half]], axis=-1)


def _swapped_pairs(x: Tensor) -> Tensor:
    tokens, heads, channels = (int(n) for n in x.shape[1:])
    pairs = ops.reshape(x, (-1, tokens, heads, channels // 2, 2))
    return ops.reshape(ops.flip(pairs, axis=-1), (-1, tokens, heads, channels))


def centred_angles(grid: tuple[int, int], channels: int, base: float) -> np.ndarray:
    """Return DINOv3's angles (patches, channels / 2): the patches' centres, -1..1 in height and width, times frequencies.

    Siméoni et al. 2025, https://arxiv.org/abs/2508.10104.

    Args:
        grid: rows and columns of patches.
        channels: of a head.
        base: of the frequencies.
    """
    rows, columns = (2 * (np.arange(n) + 0.5) / n - 1 for n in grid)
    return 2 * math.pi * _angles(rows, columns, channels, base)


def index_angles(
    grid: tuple[int, int],
    channels: int,
    base: float,
    reference: tuple[int, int] | None = None,
    offset: float = 0.0,
    columns_first: bool = False,
) -> np.ndarray:
    """Return EVA-02's angles (patches, channels / 2): row and column of each patch times frequencies.

    Fang et al. 2023, https://arxiv.org/abs/2303.11331.

    Args:
        grid: rows and columns of patches.
        channels: of a head.
        base: of the frequencies.
        reference: grid of the pretraining, which positions are scaled to.
        offset: of the first position.
        columns_first: whether the first half of the channels turns by the column.
    """
    reference = reference or grid
    rows, columns = ((np.arange(n) + offset) * old / n for n, old in zip(grid, reference))
    return _angles(rows, columns, channels, base, columns_first)


def _angles(
    rows: np.ndarray, columns: np.ndarray, channels: int, base: float, columns_first: bool = False
) -> np.ndarray:
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    if columns_first:
        places = places[:, ::-1]
    count = channels // 4
    frequencies = base ** -(np.arange(count) / count)
    return (places[:, :, None] * frequencies).reshape(len(places), -1)
