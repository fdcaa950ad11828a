"""Rotary positions: queries and keys are turned by angles that grow with the position (Su et al. 2021, https://arxiv.org/abs/2104.09864).

The tables of cosines and sines are constants of two ``Rescaling`` layers, which all blocks share: they never train, and a saved model holds
them once.
"""

from __future__ import annotations

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
    return keras.layers.Rescaling(table[:, None].astype(np.float32).tolist(), name=name, dtype="float32")


def _swapped_halves(x: Tensor) -> Tensor:
    half = int(x.shape[-1]) // 2
    return ops.concatenate([x[..., half:], x[..., :half]], axis=-1)


def _swapped_pairs(x: Tensor) -> Tensor:
    tokens, heads, channels = (int(n) for n in x.shape[1:])
    pairs = ops.reshape(x, (-1, tokens, heads, channels // 2, 2))
    return ops.reshape(ops.flip(pairs, axis=-1), (-1, tokens, heads, channels))
