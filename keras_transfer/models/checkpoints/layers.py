"""Plain Keras layers that take their weights from named tensors of a checkpoint.

Each function creates a layer, applies it to ``x``, sets its weights and returns the output, so that in a builder the names of the tensors
stand beside the layers. Sizes come from the tensors' shapes. A layer is named after its tensors (:meth:`.tensors.Part.name`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.tensors import Part

Tensor: TypeAlias = keras.KerasTensor


def filled(layer: keras.layers.Layer, x: Tensor, weights: list[np.ndarray]) -> Tensor:
    """Apply ``layer`` to ``x``, set its weights, and return the output."""
    try:
        y = layer(x)
        layer.set_weights(weights)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())[:160]
        raise UserError(f"the checkpoint does not fit its architecture: layer {layer.name}: {text}") from error
    return y


def dense(x: Tensor, part: Part, key: str) -> Tensor:
    """Apply a fully connected layer: ``key.weight`` (out, in), and ``key.bias`` if there is one."""
    weight = part.take(f"{key}.weight")
    if weight.ndim > 2:  # a 1x1 convolution
        weight = weight.reshape(weight.shape[0], -1)
    return dense_of(x, part.name(key), weight, part.take(f"{key}.bias") if part.has(f"{key}.bias") else None)


def dense_of(x: Tensor, name: str, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """Apply a fully connected layer of these weights (out, in) and (out,)."""
    layer = keras.layers.Dense(weight.shape[0], use_bias=bias is not None, name=name)
    return filled(layer, x, [weight.T] if bias is None else [weight.T, bias])


def conv(
    x: Tensor, part: Part, key: str, strides: int | tuple[int, int] = 1, padding: int | str = "same", dilation: int = 1
) -> Tensor:
    """Apply a convolution: ``key.weight`` (out, in / groups, height, width), and ``key.bias`` if there is one.

    Args:
        x: (batch, height, width, channels).
        part: with the tensors.
        key: of the tensors.
        strides: in pixels.
        padding: rows and columns of zeros on each side; ``"same"``: TensorFlow's rule, which for strides of 1 and odd kernels is symmetric.
        dilation: of the kernel.
    """
    weight = part.take(f"{key}.weight")
    bias = [part.take(f"{key}.bias")] if part.has(f"{key}.bias") else []
    out, per_group, height, width = weight.shape
    if padding and padding != "same":
        x = keras.layers.ZeroPadding2D(int(padding), name=f"{part.name(key)}_pad")(x)
    options = {
        "kernel_size": (height, width),
        "strides": strides,
        "padding": "same" if padding == "same" else "valid",
        "dilation_rate": dilation,
        "use_bias": bool(bias),
        "name": part.name(key),
    }
    channels = int(x.shape[-1])
    if per_group == 1 and out == channels > 1:
        return filled(keras.layers.DepthwiseConv2D(**options), x, [weight.transpose(2, 3, 0, 1), *bias])
    if channels % per_group:
        raise UserError(
            f"the checkpoint does not fit its architecture: {part.prefix}{key}.weight of shape {weight.shape}"
            f" on {channels} channels"
        )
    layer = keras.layers.Conv2D(out, groups=channels // per_group, **options)
    return filled(layer, x, [weight.transpose(2, 3, 1, 0), *bias])


def conv_of(x: Tensor, name: str, kernel: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """Cut ``x`` into patches without overlap and project them by ``kernel`` (out, channels, height, width)."""
    size = kernel.shape[2:]
    if min(size) < 1 or x.shape[1] < size[0] or x.shape[2] < size[1] or x.shape[-1] != kernel.shape[1]:
        raise UserError(
            f"pictures of {x.shape[1]}x{x.shape[2]} pixels do not fit the checkpoint's patches of shape {kernel.shape[1:]}"
        )
    layer = keras.layers.Conv2D(len(kernel), size, strides=size, use_bias=bias is not None, name=name)
    return filled(layer, x, [kernel.transpose(2, 3, 1, 0), *([] if bias is None else [bias])])


def batch_norm(x: Tensor, part: Part, key: str, epsilon: float = 1e-5) -> Tensor:
    """Apply batch normalization: ``key.weight``, ``.bias``, ``.running_mean`` and ``.running_var``."""
    layer = keras.layers.BatchNormalization(epsilon=epsilon, name=part.name(key))
    names = ("weight", "bias", "running_mean", "running_var")
    return filled(layer, x, [part.take(f"{key}.{name}") for name in names])


def layer_norm(x: Tensor, part: Part, key: str, epsilon: float = 1e-6) -> Tensor:
    """Apply layer normalization over channels: ``key.weight`` and, if there is one, ``key.bias``."""
    bias = part.has(f"{key}.bias")
    layer = keras.layers.LayerNormalization(epsilon=epsilon, center=bias, name=part.name(key))
    return filled(layer, x, [part.take(f"{key}.weight"), *([part.take(f"{key}.bias")] if bias else [])])


def channel_scale(x: Tensor, part: Part, key: str) -> Tensor:
    """Multiply each channel of ``x`` (batch, …, channels) by the tensor ``key``, any shape of as many numbers."""
    axes = "abcdefg"[: len(x.shape) - 1]
    layer = keras.layers.EinsumDense(
        f"{axes}z,z->{axes}z", output_shape=tuple(x.shape[1:]), kernel_initializer="ones", name=part.name(key)
    )
    return filled(layer, x, [part.take(key).reshape(-1)])


def parameter(ones: Tensor, name: str, values: np.ndarray) -> Tensor:
    """Return ``values`` for each image, (batch, *values.shape), as the trainable weights of a Dense layer.

    Args:
        ones: (batch, 1), from :func:`ones_of`.
        name: of the layer.
        values: of any shape.
    """
    layer = keras.layers.Dense(values.size, use_bias=False, name=name)
    flat = filled(layer, ones, [values.reshape(1, -1)])
    return keras.layers.Reshape(values.shape, name=f"{name}_shape")(flat)


def ones_of(x: Tensor, name: str) -> Tensor:
    """Return a one for each image, (batch, 1); ``x`` is a feature map (batch, height, width, channels) or tokens (batch, tokens, channels).

    Where layers before ``x`` are frozen, they are computed once. So ``x`` must be what the layer before has computed, not the image.
    """
    first = x[:, :1, :1, :1] if len(x.shape) == 4 else x[:, :1, :1]
    x = keras.layers.Flatten(name=f"{name}_flat")(first)
    return keras.layers.Rescaling(0.0, 1.0, name=name)(x)


def activation(name: str) -> Callable[[Tensor, str], Tensor]:
    """Return a function of ``x`` and a layer name for an activation as timm and transformers call it.

    Raises:
        Unsupported: it is not known here.
    """
    known = {
        "gelu": lambda x, layer: keras.layers.Activation("gelu", name=layer)(x),
        "gelu_pytorch_tanh": _tanh_gelu,
        "gelu_tanh": _tanh_gelu,
        "gelu_new": _tanh_gelu,
        "quick_gelu": _quick_gelu,
        "relu": lambda x, layer: keras.layers.Activation("relu", name=layer)(x),
        "relu6": lambda x, layer: keras.layers.Activation("relu6", name=layer)(x),
        "silu": lambda x, layer: keras.layers.Activation("silu", name=layer)(x),
        "swish": lambda x, layer: keras.layers.Activation("silu", name=layer)(x),
        "hard_swish": lambda x, layer: keras.layers.Activation("hard_silu", name=layer)(x),
        "hardswish": lambda x, layer: keras.layers.Activation("hard_silu", name=layer)(x),
    }
    if name not in known:
        raise Unsupported(f"the checkpoint has an activation {name[:60]!r}, expected one of: {', '.join(known)}")
    return known[name]


def _tanh_gelu(x: Tensor, layer: str) -> Tensor:
    return keras.ops.gelu(x, approximate=True)


def _quick_gelu(x: Tensor, layer: str) -> Tensor:
    """Return x · sigmoid(1.702 x), OpenAI CLIP's approximation of GELU."""
    gate = keras.layers.Rescaling(1.702, name=f"{layer}_scale")(x)
    gate = keras.layers.Activation("sigmoid", name=f"{layer}_gate")(gate)
    return keras.layers.Multiply(name=layer)([x, gate])
