"""Fold each BatchNormalization into the convolution before it: the same function with fewer operations.

Keras on torch traces a normalization as three operations that no runtime recognizes; and an int8 range measured
before a normalization does not describe its output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_transfer.keras_compat import graph_nodes, producer
from keras_transfer.models.graph import Swap, Weights, graft, like

_FOLDED_INTO = ("Conv2D", "DepthwiseConv2D")


def folded(model: Any) -> Any:
    """Return a model that computes the same in inference; ``model`` is unchanged.

    Args:
        model: a functional channels-last model with one input and one output.
    """
    swaps = {}
    for convolution, norm in _pairs(model):
        swaps[id(convolution)] = Swap(like(convolution, use_bias=True), partial(_fold, norm=norm))
        swaps[id(norm)] = Swap(None)
    inputs = keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    return keras.Model(inputs, graft(model, inputs, swaps=swaps), name=model.name)


def _pairs(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (convolution, normalization) where the normalization is the only consumer of the convolution."""
    nodes = graph_nodes(model)
    calls = Counter(id(node.operation) for node in nodes)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in model.outputs)
    for node in nodes:
        if type(node.operation).__name__ != "BatchNormalization":
            continue
        norm, (tensor,) = node.operation, node.input_tensors
        before = producer(tensor)
        if (
            type(before).__name__ in _FOLDED_INTO
            and before.activation is keras.activations.linear
            and norm.axis in (-1, len(tensor.shape) - 1)
            and uses[id(tensor)] == calls[id(before)] == calls[id(norm)] == 1
        ):
            yield before, norm


def _fold(weights: Weights, norm: Any) -> Weights:
    """Return kernel and bias of the convolution and ``norm`` combined."""
    kernel, *rest = (np.asarray(weight, np.float64) for weight in weights)
    scale, shift = _affine(norm)
    bias = rest[0] * scale + shift if rest else shift
    per_channel = kernel.reshape(*kernel.shape[:2], -1, len(scale)) * scale  # channels are last, also if depthwise
    return [per_channel.reshape(kernel.shape), bias]


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and shift of the normalization per channel, float64 (channels,)."""
    mean, variance = _float64(norm.moving_mean), _float64(norm.moving_variance)
    scale = (_float64(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    return scale, (_float64(norm.beta) if norm.center else 0.0) - mean * scale


def _float64(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
