"""Relative positions: a bias for each pair of tokens, by the distance of their patches (Bao et al. 2021, https://arxiv.org/abs/2106.08254).

The table holds one value per head for each distance, and three for the class token. It is the weights of a Dense layer; reshaping spreads it
over all pairs, so that pairs of the same distance share a weight in training too.
"""

from __future__ import annotations

import numpy as np
from keras import layers, ops

from keras_transfer.models.checkpoints.layers import Tensor, ones_of, parameter


def relative_bias(x: Tensor, name: str, table: np.ndarray, extra: np.ndarray) -> Tensor:
    """Return the bias (batch, heads, tokens, tokens) for attention among a class token and patches.

    Args:
        x: tokens (batch, tokens, channels).
        name: start of the layers' names.
        table: (2 · rows - 1, 2 · columns - 1, heads), by difference of rows and of columns.
        extra: (3, heads): from the class token to patches, from patches to it, from it to itself.
    """
    height, width = ((n + 1) // 2 for n in table.shape[:2])
    ones = ones_of(x, f"{name}_ones")
    patches = patch_bias(parameter(ones, name, table), name)
    return _with_class_token(patches, parameter(ones, f"{name}_class", extra), height * width, table.shape[2])


def table_bias(x: Tensor, name: str, table: np.ndarray) -> Tensor:
    """Return the bias (batch, heads, patches, patches) for attention among patches alone; the arguments are :func:`relative_bias`'s."""
    return patch_bias(parameter(ones_of(x, f"{name}_ones"), name, table), name)


def patch_bias(table: Tensor, name: str) -> Tensor:
    """Spread a table (batch, 2 · rows - 1, 2 · columns - 1, heads) over all pairs: (batch, heads, patches, patches)."""
    height, width = ((int(n) + 1) // 2 for n in table.shape[1:3])
    heads, count = int(table.shape[3]), height * width
    y = _spread(layers.Reshape((2 * height - 1, -1), name=f"{name}_rows")(table), height)
    y = layers.Reshape((height * height, 2 * width - 1, heads), name=f"{name}_columns")(y)
    y = layers.Permute((2, 1, 3), name=f"{name}_columns_first")(y)
    y = _spread(layers.Reshape((2 * width - 1, -1), name=f"{name}_flat")(y), width)
    y = layers.Reshape((width, width, height, height, heads), name=f"{name}_pairs")(y)
    y = layers.Permute((5, 3, 1, 4, 2), name=f"{name}_heads")(y)
    return layers.Reshape((heads, count, count), name=f"{name}_patches")(y)


def _spread(x: Tensor, count: int) -> Tensor:
    """Return y[i, j] = x[i - j + count - 1]: (batch, 2 · count - 1, n) → (batch, count, count, n).

    Rows of 2 · count cut from repeated sequences of 2 · count - 1 begin one place later each.
    """
    length, features = int(x.shape[1]), int(x.shape[2])
    y = layers.RepeatVector(count + 1)(layers.Reshape((length * features,))(x))
    y = layers.Reshape(((count + 1) * length, features))(y)[:, : 2 * count * count]
    y = layers.Reshape((count, 2 * count, features))(y)[:, :, :count]
    return ops.flip(y, axis=2)


def _with_class_token(patches: Tensor, extra: Tensor, count: int, heads: int) -> Tensor:
    def spread(values: Tensor, shape: tuple[int, int]) -> Tensor:
        y = layers.Permute((2, 1))(layers.RepeatVector(max(shape))(values))
        return layers.Reshape((heads, *shape))(y)

    first = layers.Concatenate(axis=3)([spread(extra[:, 2], (1, 1)), spread(extra[:, 0], (1, count))])
    rest = layers.Concatenate(axis=3)([spread(extra[:, 1], (count, 1)), patches])
    return layers.Concatenate(axis=2)([first, rest])


def resample_linear(table: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a table as BEiT's fine-tuning does: old places in geometric steps, so that near distances keep their values.

    Args:
        table: (rows, columns, heads), odd numbers of rows and columns.
        size: (rows, columns), odd too.
    """
    if table.shape[:2] == size:
        return table
    by_row, by_column = (_geometric(old, new) for old, new in zip(table.shape, size))
    return np.einsum("ih,jw,hwc->ijc", by_row, by_column, table.astype(np.float64)).astype(np.float32)


def _geometric(old: int, new: int) -> np.ndarray:
    left, right = 1.01, 1.5
    while right - left > 1e-6:
        ratio = (left + right) / 2
        if (1 - ratio ** (old // 2)) / (1 - ratio) > new // 2:
            right = ratio
        else:
            left = ratio
    steps = np.cumsum([ratio**k for k in range(old // 2)])
    places = np.concatenate([-steps[::-1], [0.0], steps])
    wanted = np.arange(new) - new // 2
    return np.stack([np.interp(wanted, places, row) for row in np.eye(old)], axis=1)
