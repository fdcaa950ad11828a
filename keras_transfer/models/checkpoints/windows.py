"""Attention within windows of a feature map, shifted in every second block (Liu et al. 2021, https://arxiv.org/abs/2103.14030).

Windows stand beside the heads, (batch, places in a window, windows · heads, channels), so that the batch axis stays what it is and attention
is one operation. Shifting is slicing: a layer of its own would not be known to every engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from keras import layers, ops

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.layers import Tensor, dense, dense_of, ones_of, parameter
from keras_transfer.models.checkpoints.relative import patch_bias
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import Names, joined_qkv

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How a feature map is cut.

    Attributes:
        size: of a window (height, width).
        shift: rows and columns by which the map is rolled before.
        pad_first: whether zeros that fill the last windows are added before the map is rolled, not after.
    """

    size: Pair
    shift: Pair = (0, 0)
    pad_first: bool = False


def window_attention(x: Tensor, part: Part, names: Names, windows: Windows, bias: Tensor, scale: str = "") -> Tensor:
    """Apply multi-head self-attention within windows.

    Args:
        x: feature map (batch, height, width, channels).
        part: with the tensors of ``names``.
        names: of queries, keys, values and the projection.
        windows: size and shift.
        bias: of positions, (batch, heads, places, places), added to the logits.
        scale: key of the learnt scale of logits that are cosines (Liu et al. 2022, https://arxiv.org/abs/2111.09883); empty: they are products.
    """
    height, width = int(x.shape[1]), int(x.shape[2])
    heads, (rows, columns) = int(bias.shape[1]), windows.size
    down, right = -height % rows, -width % columns
    x = _pad(x, part, down, right) if windows.pad_first else x
    x = _rolled(x, *windows.shift)
    x = x if windows.pad_first else _pad(x, part, down, right)
    count = ((height + down) // rows, (width + right) // columns)
    q, k, v = _heads(x, part, names, windows.size, count, heads)
    if scale:
        q, k = _unit(q), _unit(k)
        q = ops.multiply(q, _scale(q, part, scale, count[0] * count[1], heads))
    bias = layers.RepeatVector(count[0] * count[1], name=part.name("bias_repeat"))(
        layers.Flatten(name=part.name("bias_flat"))(bias)
    )
    bias = layers.Reshape((-1, rows * columns, rows * columns), name=part.name("bias_windows"))(bias)
    if any(windows.shift):
        bias = layers.Add(name=part.name("bias_masked"))([bias, _mask(q, part, windows, count, heads)])
    x = ops.dot_product_attention(q, k, v, bias=bias)
    x = layers.Reshape((rows, columns, *count, heads * int(v.shape[-1])), name=part.name("places"))(x)
    x = layers.Permute((3, 1, 4, 2, 5), name=part.name("rows"))(x)
    x = layers.Reshape((count[0] * rows, count[1] * columns, -1), name=part.name("map"))(x)
    x = _cropped(x, height, width, windows)
    return dense(x, part, names.proj)


def _cropped(x: Tensor, height: int, width: int, windows: Windows) -> Tensor:
    if windows.pad_first:
        x = _rolled(x, -windows.shift[0], -windows.shift[1])
        return x[:, :height, :width]
    return _rolled(x[:, :height, :width], -windows.shift[0], -windows.shift[1])


def _pad(x: Tensor, part: Part, down: int, right: int) -> Tensor:
    if not (down or right):
        return x
    return layers.ZeroPadding2D(((0, down), (0, right)), name=part.name("pad"))(x)


def _rolled(x: Tensor, up: int, left: int) -> Tensor:
    """Move the map up and to the left; what leaves it comes in on the other side."""
    if up:
        x = ops.concatenate([x[:, up:], x[:, :up]], axis=1)
    if left:
        x = ops.concatenate([x[:, :, left:], x[:, :, :left]], axis=2)
    return x


def _heads(x: Tensor, part: Part, names: Names, size: Pair, count: Pair, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, each (batch, places, windows · heads, channels of a head)."""
    weight, bias = joined_qkv(part, names)
    width = len(weight) // 3
    if width % heads:
        raise UserError(
            f"the checkpoint's {part.prefix}{names.qkv or names.q} of {width} channels has no {heads} heads"
        )
    qkv = dense_of(x, part.name("qkv"), weight, bias)
    qkv = layers.Reshape((count[0], size[0], count[1], size[1], 3 * width), name=part.name("windows"))(qkv)
    qkv = layers.Permute((2, 4, 1, 3, 5), name=part.name("places_first"))(qkv)
    shape = (size[0] * size[1], count[0] * count[1], 3, heads, width // heads)
    qkv = layers.Reshape(shape, name=part.name("heads"))(qkv)
    joined = (shape[0], shape[1] * heads, width // heads)
    q, k, v = (
        layers.Reshape(joined, name=part.name(f"{name}_heads"))(qkv[:, :, :, place])
        for place, name in enumerate(("q", "k", "v"))
    )
    return q, k, v


def _unit(x: Tensor) -> Tensor:
    """Return vectors of length one, and zero for zero: keys of padding, whose gradient the least length keeps finite."""
    # Not a constant that is added: exporters to ONNX leave out what is below 1e-8.
    return ops.divide(x, ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12)))


def _scale(q: Tensor, part: Part, key: str, count: int, heads: int) -> Tensor:
    """Return the learnt scale of each head's logits, at most 100, for queries that attention will divide by a root."""
    learnt = parameter(ones_of(q, part.name("scale_ones")), part.name(key), part.take(key).reshape(-1))
    scale = ops.exp(ops.minimum(learnt, math.log(100)))
    scale = layers.Rescaling(math.sqrt(q.shape[-1]), name=part.name("scale_root"))(scale)
    scale = layers.RepeatVector(count, name=part.name("scale_windows"))(scale)
    return layers.Reshape((1, count * heads, 1), name=part.name("scale_heads"))(scale)


def _mask(x: Tensor, part: Part, windows: Windows, count: Pair, heads: int) -> Tensor:
    """Return -100 for pairs of places that were not neighbours before the map was rolled, (batch, windows · heads, places, places).

    Only the places' regions are constants of the model; the pairs are made of them.
    """
    sides = [n * size for n, size in zip(count, windows.size)]
    rows, columns = (
        np.searchsorted([side - size, side - shift], np.arange(side), side="right") if shift else np.zeros(side, int)
        for side, size, shift in zip(sides, windows.size, windows.shift)
    )
    regions = (rows[:, None] * 3 + columns).reshape(count[0], windows.size[0], count[1], windows.size[1])
    regions = regions.transpose(0, 2, 1, 3).reshape(-1)
    places, number = windows.size[0] * windows.size[1], count[0] * count[1]
    y = layers.RepeatVector(len(regions), name=part.name("mask_repeat"))(ones_of(x, part.name("mask_ones")))
    y = layers.Flatten(name=part.name("mask_flat"))(y)
    y = layers.Rescaling(0.0, [float(n) for n in regions], name=part.name("mask_regions"))(y)
    one = layers.Reshape((number, places, 1), name=part.name("mask_from"))(y)
    other = layers.Reshape((number, 1, places), name=part.name("mask_to"))(y)
    apart = ops.minimum(ops.absolute(ops.subtract(one, other)), 1.0)
    apart = layers.Rescaling(-100.0, name=part.name("mask"))(apart)
    apart = layers.Reshape((number, places * places), name=part.name("mask_rows"))(apart)
    apart = ops.repeat(apart, heads, axis=1)
    return layers.Reshape((number * heads, places, places), name=part.name("mask_heads"))(apart)


def continuous_bias(x: Tensor, part: Part, keys: tuple[str, str], window: Pair, trained: Pair) -> Tensor:
    """Return the bias that a small network computes from distances (Swin V2), (batch, heads, places, places).

    Args:
        x: any tensor of the batch, of rank 3 or 4, from the layer before.
        part: with the tensors.
        keys: of the network's two layers.
        window: (height, width).
        trained: the window that distances are relative to.
    """
    axes = [np.arange(1 - n, n) / max(old - 1, 1) * 8 for n, old in zip(window, trained)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    places = np.sign(places) * np.log2(np.abs(places) + 1) / 3
    y = layers.RepeatVector(places.size, name=part.name("distance_repeat"))(ones_of(x, part.name("distance_ones")))
    y = layers.Reshape(places.shape, name=part.name("distance_pairs"))(y)
    y = layers.Rescaling(0.0, [[float(f"{n:.9g}") for n in pair] for pair in places], name=part.name("distances"))(y)
    y = layers.ReLU(name=part.name("distance_act"))(dense(y, part, keys[0]))
    y = layers.Activation("sigmoid", name=part.name("distance_gate"))(dense(y, part, keys[1]))
    y = layers.Rescaling(16.0, name=part.name("distance_bias"))(y)
    y = layers.Reshape((2 * window[0] - 1, 2 * window[1] - 1, int(y.shape[-1])), name=part.name("distance_table"))(y)
    return patch_bias(y, part.name("relative"))
