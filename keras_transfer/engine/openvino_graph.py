"""Translate a functional Keras model to an OpenVINO graph, layer by layer.

Converting the traced program of a framework keeps Keras's layout copies in the graph, which then runs at a third of the speed
or less. Here every layer has a builder in :data:`BUILDERS`. Inside, the graph is channels-first (NCHW), OpenVINO's own layout;
its inputs and outputs are Keras's channels-last arrays. OpenVINO itself folds BatchNormalization and activations into the
convolutions before them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

# The operation set is recorded in the graph; every later release of OpenVINO reads it.
import openvino.opset13 as ops
from openvino import Model

from keras_transfer.engine.constants import constants_of
from keras_transfer.engine.openvino_arrays import ARITHMETIC, ARRAY_BUILDERS, arithmetic
from keras_transfer.engine.openvino_layout import (
    Node,
    NotTranslatable,
    axis_of,
    channels_first,
    channels_last,
    expect,
    integers,
    per_channel,
    value_of,
)
from keras_transfer.engine.openvino_tokens import TOKEN_BUILDERS, Taken, reshape
from keras_transfer.keras_compat import graph_nodes

Builder = Callable[[Any, list[Node], list[tuple[int, ...]]], Node]


def translate(model: keras.Model, batch_size: int, dtype: Any = np.uint8) -> Model:
    """Build an OpenVINO graph of a model's inference, with copies of its weights.

    Args:
        model: a built functional model of one input (height, width, channels), channels last. The
            layers' dtype policies are ignored: the graph is float32, and the precision is chosen when it is compiled.
        batch_size: images per call; -1 for a dynamic size.
        dtype: dtype of the images, uint8 or float32.

    Returns:
        A graph from (batch_size, height, width, channels) to float32 (batch_size, …), channels last, with the model's outputs.

    Raises:
        NotTranslatable: names the layer.
    """
    shape = [batch_size, *(int(n) for n in model.input_shape[1:])]
    pixels = ops.parameter(shape, dtype, name="pixels")
    made: dict[int, Node] = {id(model.inputs[0]): channels_first(ops.convert(pixels, "f32"), len(shape))}
    constants = constants_of(model)
    for node in graph_nodes(model):
        operation = node.operation
        kind = type(operation).__name__
        if id(node.outputs[0]) in constants:
            continue
        _add_constants(node, kind, constants, made)
        if kind in ARITHMETIC and not isinstance(operation, keras.layers.Layer):
            made[id(node.outputs[0])] = arithmetic(operation, node.arguments.args, made)
            continue
        if kind not in BUILDERS or len(node.outputs) != 1:
            raise NotTranslatable(f"{operation.name} ({kind})")
        inputs = list(node.input_tensors)
        shapes = [tuple(tensor.shape) for tensor in inputs]
        if kind == "GetItem":  # what it takes is no property of the operation, but an argument of its call
            operation = Taken(operation.name, node.arguments.args[1])
        made[id(node.outputs[0])] = BUILDERS[kind](operation, [made[id(t)] for t in inputs], shapes)
    if any(id(output) in constants for output in model.outputs):
        raise NotTranslatable(f"{model.name} (an output that is the same for every picture)")
    outputs = [channels_last(made[id(output)], len(output.shape)) for output in model.outputs]
    return Model(outputs, [pixels], model.name)


def _add_constants(node: Any, kind: str, constants: dict[int, Any], made: dict[int, Node]) -> None:
    """Add the constants among a node's inputs to the graph: for one picture where they broadcast, for the batch to be joined."""
    inputs = node.input_tensors
    for tensor in inputs:
        if id(tensor) not in constants:
            continue
        value = value_of(constants[id(tensor)])
        x = ops.constant(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value)
        if kind == "Concatenate":
            batch = next(made[id(other)] for other in inputs if id(other) not in constants)
            count = ops.gather(ops.shape_of(batch), integers(0), integers(0))
            x = ops.broadcast(x, ops.concat([count, integers(*x.get_output_shape(0)[1:])], 0))
        made[id(tensor)] = x


# === Layers with weights ===


def _conv2d(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    kernel = value_of(layer.kernel).transpose(3, 2, 0, 1)  # height, width, in, out → out, in, height, width
    return _convolve(layer, inputs[0], kernel, groups=layer.groups)


def _depthwise(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return _convolve(layer, inputs[0], _depthwise_kernel(layer.kernel), groups=layer.kernel.shape[2])


def _separable(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    depthwise = _depthwise_kernel(layer.depthwise_kernel)
    x = _convolution(layer, inputs[0], depthwise, layer.depthwise_kernel.shape[2])
    pointwise = value_of(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    x = ops.convolution(x, pointwise, [1, 1], [0, 0], [0, 0], [1, 1])
    return _bias_and_activation(layer, x, 4)


def _depthwise_kernel(variable: Any) -> np.ndarray:
    """Height, width, in, multiplier → in * multiplier, 1, height, width."""
    kernel = value_of(variable)
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])


def _convolve(layer: Any, x: Node, kernel: np.ndarray, groups: int) -> Node:
    return _bias_and_activation(layer, _convolution(layer, x, kernel, groups), 4)


def _convolution(layer: Any, x: Node, kernel: np.ndarray, groups: int) -> Node:
    expect(layer, data_format="channels_last")
    strides, dilations = _pair(layer.strides), _pair(layer.dilation_rate)
    auto_pad = {"same": "same_upper", "valid": "valid"}[layer.padding]
    if groups == 1:
        return ops.convolution(x, kernel, strides, [0, 0], [0, 0], dilations, auto_pad)
    kernel = kernel.reshape(groups, -1, *kernel.shape[1:])
    return ops.group_convolution(x, kernel, strides, [0, 0], [0, 0], dilations, auto_pad)


def _dense(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    rank, kernel = len(shapes[0]), value_of(layer.kernel)
    if rank == 4:  # over a feature map, Dense is a 1x1 convolution
        x = ops.convolution(inputs[0], kernel.T[:, :, None, None], [1, 1], [0, 0], [0, 0], [1, 1])
    else:
        x = ops.matmul(inputs[0], kernel, False, False)
    return _bias_and_activation(layer, x, rank)


def _bias_and_activation(layer: Any, x: Node, rank: int) -> Node:
    if layer.use_bias:
        x = ops.add(x, per_channel(value_of(layer.bias), rank))
    return _activate(layer, x)


def _batch_normalization(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    rank = len(shapes[0])
    if layer.axis not in (-1, rank - 1):
        expect(layer, axis=-1)
    mean, variance = value_of(layer.moving_mean), value_of(layer.moving_variance)
    gamma = value_of(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = value_of(layer.beta) if layer.center else np.zeros_like(mean)
    return ops.batch_norm_inference(inputs[0], gamma, beta, mean, variance, float(layer.epsilon))


def _layer_normalization(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    rank = len(shapes[0])
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % rank for axis in axes] != [rank - 1] or getattr(layer, "rms_scaling", False):
        raise NotTranslatable(f"{layer.name} (LayerNormalization over other axes than the channels)")
    channel = integers(axis_of(-1, rank))
    x = ops.mvn(inputs[0], channel, True, float(layer.epsilon), "inside_sqrt")
    if layer.scale:
        x = ops.multiply(x, per_channel(value_of(layer.gamma), rank))
    return ops.add(x, per_channel(value_of(layer.beta), rank)) if layer.center else x


def _group_normalization(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    if len(shapes[0]) != 4 or layer.axis not in (-1, 3) or not layer.scale or not layer.center:
        raise NotTranslatable(f"{layer.name} (GroupNormalization but of the channels of a feature map)")
    gamma, beta = value_of(layer.gamma), value_of(layer.beta)
    return ops.group_normalization(inputs[0], gamma, beta, layer.groups, float(layer.epsilon))


# === Activations ===


def _gelu(x: Node, approximate: bool = False) -> Node:
    return ops.gelu(x, "tanh" if approximate else "erf")


ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "relu6": lambda x: ops.clamp(x, 0.0, 6.0),
    "silu": ops.swish,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "gelu": _gelu,
    "elu": lambda x: ops.elu(x, 1.0),
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "log_softmax": lambda x: ops.log_softmax(x, axis_of(-1, len(x.get_output_partial_shape(0)))),
    "mish": ops.mish,
    "hard_silu": ops.hswish,
    "hard_sigmoid": ops.hsigmoid,
}


def _activate(layer: Any, x: Node) -> Node:
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in ACTIVATIONS or keras.activations.get(name) is not layer.activation:
        raise NotTranslatable(f"{layer.name} (activation {name})")
    return ACTIVATIONS[name](x)


def _activation(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return _activate(layer, inputs[0])


def _relu(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, threshold=0.0)
    x, slope, top = inputs[0], float(layer.negative_slope), layer.max_value
    if slope == 0:
        return ops.relu(x) if top is None else ops.clamp(x, 0.0, float(top))
    x = ops.prelu(x, np.array([slope], np.float32))
    return x if top is None else ops.minimum(x, np.float32(top))


# === Layers without weights ===


def _add(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return _fold(layer, ops.add, inputs, shapes)


def _multiply(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return _fold(layer, ops.multiply, inputs, shapes)


def _fold(layer: Any, operation: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    if len({len(shape) for shape in shapes}) != 1:  # broadcasting over different ranks depends on the layout
        raise NotTranslatable(f"{layer.name} ({type(layer).__name__} of tensors of different ranks)")
    x = inputs[0]
    for other in inputs[1:]:
        x = operation(x, other)
    return x


def _concatenate(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return ops.concat(inputs, axis_of(layer.axis, len(shapes[0])))


def _pool(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, data_format="channels_last")
    size, strides = _pair(layer.pool_size), _pair(layer.strides)
    auto_pad = {"same": "same_upper", "valid": "valid"}[layer.padding]
    if "Max" in type(layer).__name__:
        return ops.max_pool(inputs[0], strides, [1, 1], [0, 0], [0, 0], size, "floor", auto_pad).output(0)
    if keras.backend.backend() == "torch" and layer.padding == "same" and _one_sided(size, strides, shapes[0]):
        raise NotTranslatable(f"{layer.name} (one-sided padding, which Keras on torch fills by repeating the edge)")
    # Padding does not count towards an average.
    return ops.avg_pool(inputs[0], strides, [0, 0], [0, 0], size, True, "floor", auto_pad)


def _one_sided(size: list[int], strides: list[int], shape: tuple[int, ...]) -> bool:
    padding = [max(0, (-(-n // s) - 1) * s + k - n) for n, s, k in zip(shape[1:3], strides, size)]
    return any(pixels % 2 for pixels in padding)


def _global_pool(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, data_format="channels_last")
    reduce = ops.reduce_max if "Max" in type(layer).__name__ else ops.reduce_mean
    x = reduce(inputs[0], integers(2, 3), keep_dims=True)
    # With kept dimensions Keras returns (batch, 1, 1, channels), which is this tensor in NCHW.
    return x if layer.keepdims else ops.squeeze(x, integers(2, 3))


def _zero_padding(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, data_format="channels_last")
    (top, bottom), (left, right) = layer.padding
    begin, end = integers(0, 0, top, left), integers(0, 0, bottom, right)
    return ops.pad(inputs[0], begin, end, "constant", np.float32(0))


def _cropping(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, data_format="channels_last")
    (top, bottom), (left, right) = layer.cropping
    _, height, width, _ = shapes[0]
    begin, end = integers(top, left), integers(height - bottom, width - right)
    return ops.slice(inputs[0], begin, end, integers(1, 1), integers(2, 3))


def _rescaling(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    rank = len(shapes[0])
    x = ops.multiply(inputs[0], per_channel(layer.scale, rank))
    return ops.add(x, per_channel(layer.offset, rank))


def _unit_normalization(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    expect(layer, axis=-1)
    if len(shapes[0]) != 2:
        raise NotTranslatable(f"{layer.name} (of more than vectors)")
    return ops.normalize_l2(inputs[0], integers(1), 1e-12, "max")


def _flip(operation: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    rank = len(shapes[0])
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
    x = inputs[0]
    for axis in axes:
        count = shapes[0][axis]
        if count is None:
            raise NotTranslatable(f"{operation.name} (Flip of an unknown size)")
        x = ops.gather(x, np.arange(count - 1, -1, -1, dtype=np.int64), integers(axis_of(axis, rank)))
    return x


def _flatten(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return ops.reshape(channels_last(inputs[0], len(shapes[0])), integers(0, -1), True)


def _identity(layer: Any, inputs: list[Node], shapes: list[tuple[int, ...]]) -> Node:
    return inputs[0]


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(n) for n in value]


BUILDERS: dict[str, Builder] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "GroupNormalization": _group_normalization,
    "Activation": _activation,
    "ReLU": _relu,
    "Add": _add,
    "Multiply": _multiply,
    "Concatenate": _concatenate,
    "MaxPooling2D": _pool,
    "AveragePooling2D": _pool,
    "GlobalAveragePooling2D": _global_pool,
    "GlobalMaxPooling2D": _global_pool,
    "ZeroPadding2D": _zero_padding,
    "Cropping2D": _cropping,
    "Rescaling": _rescaling,
    "UnitNormalization": _unit_normalization,
    "Flip": _flip,
    "Reshape": reshape,
    "Flatten": _flatten,
    "Dropout": _identity,
    "Identity": _identity,
    **ARRAY_BUILDERS,
    **TOKEN_BUILDERS,
}
"""Class name of a Keras layer or operation → its builder."""
