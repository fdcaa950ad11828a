"""Layouts of tensors in an OpenVINO graph: of rank 4, channels first (NCHW); of other ranks, as in Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import openvino.opset13 as ops

Node = Any  # openvino.Node; of rank 4, it is NCHW


class NotTranslatable(Exception):
    """A layer that has no builder, or a configuration that its builder does not support."""


def channels_first(x: Node, rank: int) -> Node:
    """Return a channels-last tensor in the layout of the graph."""
    return ops.transpose(x, integers(0, 3, 1, 2)) if rank == 4 else x


def channels_last(x: Node, rank: int) -> Node:
    """Return a tensor of the graph with its channels last."""
    return ops.transpose(x, integers(0, 2, 3, 1)) if rank == 4 else x


def axis_of(axis: int, rank: int) -> int:
    """Return the index in NCHW of an axis of Keras's channels-last tensor."""
    axis %= rank
    return {0: 0, 1: 2, 2: 3, 3: 1}[axis] if rank == 4 else axis


def per_channel(values: Any, rank: int) -> np.ndarray:
    """Return a scalar, one value per channel, or a table of ``rank`` - 1 axes, in a shape that broadcasts over the tensors here."""
    array = np.asarray(values, np.float32)
    if array.ndim > 1:
        array = array.reshape(1, *array.shape)
        return array.transpose(0, 3, 1, 2) if rank == 4 else array
    return array.reshape(1, -1, 1, 1) if rank == 4 else array.reshape(*[1] * (rank - 1), -1)


def integers(*values: int) -> np.ndarray:
    """Return an array of integers, as OpenVINO takes axes and shapes."""
    return np.array(values, np.int64)


def value_of(variable: Any) -> np.ndarray:
    """Return the value of a variable, float32."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def expect(layer: Any, **wanted: Any) -> None:
    """Raise an error unless a layer has these properties."""
    for name, value in wanted.items():
        if getattr(layer, name, value) != value:
            raise NotTranslatable(f"{layer.name} ({type(layer).__name__} with {name}={getattr(layer, name)!r})")
