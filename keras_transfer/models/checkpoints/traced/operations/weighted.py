"""Operations with weights: linear layers, convolutions, normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers

from keras_transfer.models.checkpoints.traced.builder import Builder
from keras_transfer.models.checkpoints.traced.operations.shapes import squeeze, unsqueeze
from keras_transfer.models.checkpoints.traced.operations.table import array, filled, operation, same, size
from keras_transfer.models.checkpoints.traced.program import Constant
from keras_transfer.models.checkpoints.traced.value import Untranslated, Value, channels_last, last_axis_last


@operation("linear")
def linear(make: Builder, x: Value, weight: Any, bias: Any = None) -> Value:
    kernel = array(weight)
    x = last_axis_last(x)
    layer = make.layer(layers.Dense, "", len(kernel), use_bias=bias is not None)
    y = filled(layer, x.tensor, [kernel.T, *([] if bias is None else [array(bias)])])
    return Value(y, (*x.shape[:-1], len(kernel)), x.order)


@operation("conv2d")
def conv2d(
    make: Builder,
    x: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    kernel = array(weight)
    x = channels_last(x)
    out, _, *sides = kernel.shape
    stride, dilation = size(stride), size(dilation)
    reach = [(side - 1) * d + 1 for side, d in zip(sides, dilation)]
    if isinstance(padding, str):
        zeros = [(0, 0), (0, 0)] if padding == "valid" else [((r - 1) // 2, r // 2) for r in reach]
    else:
        zeros = [(n, n) for n in size(padding)]
    middle = all(a == b == (r - 1) / 2 for (a, b), r in zip(zeros, reach))
    is_same = stride == (1, 1) and middle
    tensor = x.tensor
    if not is_same and any(map(any, zeros)):
        tensor = make.layer(layers.ZeroPadding2D, "pad", tuple(zeros))(tensor)
    every = stride if max(stride) > 1 and max(dilation) > 1 else (1, 1)  # Keras has no convolution with both
    steps, stride = stride, (1, 1) if max(every) > 1 else stride
    options = {
        "strides": stride,
        "padding": "same" if is_same else "valid",
        "dilation_rate": dilation,
        "use_bias": bias is not None,
    }
    channels, biases = x.shape[1], [] if bias is None else [array(bias)]
    if groups == channels > 1 and out % channels == 0 and (stride[0] == stride[1]):
        multiplier = out // channels
        depthwise = kernel.reshape(channels, multiplier, *sides).transpose(2, 3, 0, 1)
        layer = make.layer(layers.DepthwiseConv2D, "", tuple(sides), depth_multiplier=multiplier, **options)
        y = filled(layer, tensor, [depthwise, *biases])
    else:
        layer = make.layer(layers.Conv2D, "", out, tuple(sides), groups=groups, **options)
        y = filled(layer, tensor, [kernel.transpose(2, 3, 1, 0), *biases])
    if max(every) > 1:
        y = y[:, :: every[0], :: every[1]]
    spaces = [(n + sum(z) - r) // s + 1 for n, z, r, s in zip(x.shape[2:], zeros, reach, steps)]
    return Value(y, (x.shape[0], out, *spaces), x.order)


@operation("conv1d")
def conv1d(
    make: Builder,
    x: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    if not isinstance(weight, Constant) or isinstance(padding, str):
        raise Untranslated("a convolution in one dimension whose weights depend on the image")
    wide = unsqueeze(make, x, -1)
    kernel = Constant(weight.tensor.unsqueeze(-1), weight.name)
    steps = (size(stride, 1)[0], 1), (size(padding, 1)[0], 0), (size(dilation, 1)[0], 1)
    return squeeze(make, conv2d(make, wide, kernel, bias, *steps, groups), -1)


@operation("batch_norm")
def batch_norm(
    make: Builder,
    x: Value,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    epsilon: float,
    *_: Any,
) -> Value:
    if training or mean is None:
        raise Untranslated("statistics of the batch in inference")
    x = channels_last(x) if x.rank > 2 else x
    options = {"epsilon": epsilon, "scale": weight is not None, "center": bias is not None}
    layer = make.layer(layers.BatchNormalization, "", momentum=1 - momentum, **options)
    return same(x, filled(layer, x.tensor, [array(one) for one in (weight, bias, mean, variance) if one is not None]))


@operation("layer_norm")
def layer_norm(
    make: Builder, x: Value, shape: Sequence[int], weight: Any = None, bias: Any = None, epsilon: float = 1e-5, *_: Any
) -> Value:
    if len(shape) != 1:
        raise Untranslated(f"layer normalization over {len(shape)} axes")
    x = last_axis_last(x)
    if weight is None and bias is not None:
        raise Untranslated("layer normalization with a bias alone")
    layer = make.layer(
        layers.LayerNormalization, "", epsilon=epsilon, scale=weight is not None, center=bias is not None
    )
    return same(x, filled(layer, x.tensor, [array(one) for one in (weight, bias) if one is not None]))


@operation("rms_norm")
def rms_norm(make: Builder, x: Value, shape: Sequence[int], weight: Any = None, epsilon: float | None = None) -> Value:
    if len(shape) != 1 or weight is None:
        raise Untranslated("a root mean square normalization without weights")
    x = last_axis_last(x)
    layer = make.layer(
        layers.RMSNormalization, "", epsilon=float(np.finfo(np.float32).eps) if epsilon is None else epsilon
    )
    return same(x, filled(layer, x.tensor, [array(weight)]))


@operation("group_norm")
def group_norm(
    make: Builder, x: Value, groups: int, weight: Any = None, bias: Any = None, epsilon: float = 1e-5, *_: Any
) -> Value:
    x = channels_last(x)
    layer = make.layer(
        layers.GroupNormalization, "", groups, epsilon=epsilon, scale=weight is not None, center=bias is not None
    )
    return same(x, filled(layer, x.tensor, [array(one) for one in (weight, bias) if one is not None]))
