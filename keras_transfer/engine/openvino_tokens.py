"""OpenVINO builders for the layers and operations of transformers: tokens (batch, tokens, channels), heads, attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino.opset13 as ops

from keras_transfer.engine.openvino_layout import (
    Node,
    NotTranslatable,
    axis_of,
    channels_first,
    channels_last,
    integers,
    per_channel,
    value_of,
)

Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Taken:
    """The slice ``x[key]``.

    Attributes:
        name: of the operation.
        key: a slice or an index for each axis from the first, or an ellipsis.
    """

    name: str
    key: Any


def _get_item(operation: Taken, inputs: list[Node], shapes: Shapes) -> Node:
    rank = len(shapes[0])
    keys = (
        list(operation.key) if isinstance(operation.key, (tuple, list)) else [operation.key]
    )  # a list in a loaded model
    if ... in keys:
        place = keys.index(...)
        keys[place : place + 1] = [slice(None)] * (rank - len(keys) + 1)
    x, dropped = channels_last(inputs[0], rank), []
    for axis, key in enumerate(keys):
        if isinstance(key, int):
            x = ops.gather(x, integers(key), integers(axis))
            dropped.append(axis)
        elif isinstance(key, slice) and (key.step or 1) > 0:
            if key != slice(None):
                end = np.iinfo(np.int64).max if key.stop is None else key.stop
                x = ops.slice(x, integers(key.start or 0), integers(end), integers(key.step or 1), integers(axis))
        else:
            raise NotTranslatable(f"{operation.name} (GetItem of {key!r})")
    if dropped:
        x = ops.squeeze(x, integers(*dropped))
    return channels_first(x, rank - len(dropped))


def _attention(operation: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Queries, keys and values (batch, tokens, heads, channels), and a bias (batch, heads, tokens, tokens) if there is a fourth input."""
    if operation.is_causal or operation.attn_logits_soft_cap is not None:
        raise NotTranslatable(f"{operation.name} (DotProductAttention with is_causal or attn_logits_soft_cap)")
    q, k, v = (_heads_first(x, shape) for x, shape in zip(inputs[:3], shapes))
    bias = [channels_last(inputs[3], 4)] if len(inputs) > 3 else []
    x = ops.scaled_dot_product_attention(q, k, v, *bias)
    _, tokens, heads, _ = shapes[0]
    if tokens != heads:
        return ops.transpose(x, integers(0, 3, 2, 1))
    return channels_first(_swapped(x, tokens, shapes[2][-1]), 4)


def _heads_first(x: Node, shape: tuple[int, ...]) -> Node:
    """Return (batch, heads, tokens, channels) of a tensor whose ``shape`` in Keras is (batch, tokens, heads, channels)."""
    _, tokens, heads, channels = shape
    if tokens != heads:
        return ops.transpose(x, integers(0, 3, 2, 1))  # NCHW here is (batch, channels, tokens, heads)
    return _swapped(channels_last(x, 4), tokens, channels)


def _swapped(x: Node, side: int, channels: int) -> Node:
    """Swap the first two axes of (batch, side, side, channels) by gathering rows.

    A transposition leaves such a shape as it is, and OpenVINO 2026.4 then takes it for no operation when a reshape is beside it.
    """
    places = np.arange(side * side).reshape(side, side).T.reshape(-1)
    rows = ops.gather(ops.reshape(x, integers(0, side * side, channels), True), places, integers(1))
    return ops.reshape(rows, integers(0, side, side, channels), True)


def _attention_layer(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Queries, values and keys (batch, tokens, channels)."""
    if len(inputs) != 3 or layer.use_scale or layer.score_mode != "dot":
        raise NotTranslatable(f"{layer.name} (Attention with use_scale, or without keys of its own)")
    queries, values, keys = inputs
    return ops.matmul(ops.softmax(ops.matmul(queries, keys, False, True), -1), values, False, False)


def _einsum_dense(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """A factor for each channel, which is all that the networks here use it for."""
    left, _, right = layer.equation.partition("->")
    x, _, factor = left.partition(",")
    if not (x == right and factor == x[-1]) or layer.bias is not None or layer.activation.__name__ != "linear":
        raise NotTranslatable(f"{layer.name} (EinsumDense of {layer.equation})")
    return ops.multiply(inputs[0], per_channel(value_of(layer.kernel), len(shapes[0])))


def _rms_normalization(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    rank, axes = len(shapes[0]), [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if axes not in ([-1], [rank - 1]):
        raise NotTranslatable(f"{layer.name} (RMSNormalization over axes {axes})")
    mean = ops.reduce_mean(ops.multiply(inputs[0], inputs[0]), integers(axis_of(-1, rank)), keep_dims=True)
    x = ops.divide(inputs[0], ops.sqrt(ops.add(mean, np.float32(layer.epsilon))))
    return ops.multiply(x, per_channel(value_of(layer.scale), rank))


def _pool_tokens(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    reduce = ops.reduce_max if "Max" in type(layer).__name__ else ops.reduce_mean
    return reduce(inputs[0], integers(1), keep_dims=layer.keepdims)


def _average(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    x = inputs[0]
    for other in inputs[1:]:
        x = ops.add(x, other)
    return ops.multiply(x, np.float32(1 / len(inputs)))


def _softmax(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    if not isinstance(layer.axis, int):
        raise NotTranslatable(f"{layer.name} (Softmax over several axes)")
    return ops.softmax(inputs[0], axis_of(layer.axis, len(shapes[0])))


def _matmul(operation: Any, inputs: list[Node], shapes: Shapes) -> Node:
    if len(shapes[0]) != len(shapes[1]):
        raise NotTranslatable(f"{operation.name} (Matmul of tensors of different ranks)")
    rank = len(shapes[0])
    one, other = (channels_last(x, rank) for x in inputs)
    return channels_first(ops.matmul(one, other, False, False), rank)


def _gelu(operation: Any, inputs: list[Node], shapes: Shapes) -> Node:
    return ops.gelu(inputs[0], "tanh" if operation.approximate else "erf")


def reshape(layer: Any, inputs: list[Node], shapes: Shapes) -> Node:
    """Reshape by a layer, which keeps the batch axis, or by an operation that may merge others into it."""
    if hasattr(layer, "target_shape"):
        batch, target = 0, tuple(layer.target_shape)  # 0: as before
    elif isinstance(layer.newshape, (tuple, list)) and layer.newshape[0] == -1 and min(layer.newshape[1:]) > 0:
        batch, target = -1, tuple(layer.newshape[1:])
    else:
        raise NotTranslatable(f"{layer.name} (Reshape to {layer.newshape})")
    x = channels_last(inputs[0], len(shapes[0]))
    return channels_first(ops.reshape(x, integers(batch, *target), batch == 0), len(target) + 1)


TOKEN_BUILDERS = {
    "GetItem": _get_item,
    "DotProductAttention": _attention,
    "Attention": _attention_layer,
    "EinsumDense": _einsum_dense,
    "RMSNormalization": _rms_normalization,
    "GlobalAveragePooling1D": _pool_tokens,
    "GlobalMaxPooling1D": _pool_tokens,
    "Average": _average,
    "Gelu": _gelu,
    "Matmul": _matmul,
    "Softmax": _softmax,
}
"""Class name of a Keras layer or operation → its builder."""
