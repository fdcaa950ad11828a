"""The constant part of a graph: what is the same for every picture, such as learnt tokens, positions and biases of attention.

Such parts begin with a ``Rescaling`` by zero, which makes ones (or other constants) of a picture's features, and consist of Keras's own
layers, so that they train and are saved like any others. For inference they are computed once here, by the backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_transfer.keras_compat import graph_nodes


def constants_of(model: keras.Model) -> dict[int, Any]:
    """Compute the constant tensors of a functional model.

    Returns:
        ``id(tensor)`` → its value, a tensor of the backend, (1, …): the batch axis has one element.
    """
    found: dict[int, Any] = {}
    for node in graph_nodes(model):
        inputs = node.input_tensors
        if _makes_a_constant(node):
            shape = (1, *inputs[0].shape[1:])
            value = np.broadcast_to(np.asarray(node.operation.offset, np.float32), shape)
            found[id(node.outputs[0])] = keras.ops.convert_to_tensor(value.copy())
        elif inputs and all(id(tensor) in found for tensor in inputs):
            outputs = call(node, found)
            for tensor, value in zip(node.outputs, outputs if isinstance(outputs, (list, tuple)) else [outputs]):
                found[id(tensor)] = value
    return found


def _makes_a_constant(node: Any) -> bool:
    operation = node.operation
    return (
        isinstance(operation, keras.layers.Rescaling)
        and not np.any(operation.scale)
        and None not in node.input_tensors[0].shape[1:]
    )


def call(node: Any, values: dict[int, Any]) -> Any:
    """Call the operation of a node again, with these values (``id(tensor)`` → value) in place of its tensors."""
    arguments = (node.arguments.args, node.arguments.kwargs)
    args, kwargs = keras.tree.map_structure(lambda each: values.get(id(each), each), arguments)
    return node.operation(*args, **kwargs)


_BROADCAST = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Minimum", "Maximum")


def inference(model: keras.Model) -> Callable[[Any], Any]:
    """Return a function that computes what ``model(images, training=False)`` does, but the constant part only once, here.

    Args:
        model: a functional model of one input.

    Returns:
        A function from a tensor of the backend, (batch, …), to the outputs.
    """
    constants = constants_of(model)
    nodes = [node for node in graph_nodes(model) if id(node.outputs[0]) not in constants]

    def compute(images: Any) -> Any:
        values = {**constants, id(model.inputs[0]): images}
        for node in nodes:
            outputs = call(node, values if _broadcasts(node, constants) else _of_batch(node, values, constants, images))
            for tensor, value in zip(node.outputs, outputs if isinstance(outputs, (list, tuple)) else [outputs]):
                values[id(tensor)] = value
        found = [values[id(tensor)] for tensor in model.outputs]
        return found if len(found) > 1 else found[0]

    return compute


def _broadcasts(node: Any, constants: dict[int, Any]) -> bool:
    """Return whether inputs of one element may stand for a batch: in arithmetic, and as the bias of an attention."""
    kind = type(node.operation).__name__
    return kind in _BROADCAST or (kind == "DotProductAttention" and id(node.arguments.args[0]) not in constants)


def _of_batch(node: Any, values: dict[int, Any], constants: dict[int, Any], images: Any) -> dict[int, Any]:
    shared = [tensor for tensor in node.input_tensors if id(tensor) in constants]
    if not shared:
        return values
    batch = keras.ops.shape(images)[0]
    return {
        **values,
        **{id(each): keras.ops.broadcast_to(constants[id(each)], (batch, *each.shape[1:])) for each in shared},
    }
