"""Convolutions in a form that XLA compiles to fast code on a CPU, behind stock Keras layers.

XLA's CPU compiler has no kernel for depthwise convolutions and falls back to a generic loop, and it computes the gradients of
1x1 convolutions as convolutions. Here the former are sums of shifted, scaled copies, which fuse into one loop, and the
latter are matrix products. Imported only where Keras runs on jax.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax

from keras_transfer.engine.report import Report
from keras_transfer.keras_compat import layers_and_graphs, replace_method, replaced_method, restore_method


class _Operation:
    """Replaces ``call`` of one convolution layer."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, inputs: Any) -> Any:
        layer = self.layer
        outputs = self.convolve(keras.ops.convert_to_tensor(inputs), keras.ops.convert_to_tensor(layer.kernel))
        if layer.use_bias:
            outputs = outputs + keras.ops.convert_to_tensor(layer.bias)
        return outputs if layer.activation is None else layer.activation(outputs)

    @staticmethod
    def fits(layer: Any) -> bool:
        """Return whether this operation can compute the layer."""
        raise NotImplementedError

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        """Compute the convolution alone."""
        raise NotImplementedError


class Depthwise(_Operation):
    """A DepthwiseConv2D as a sum over the taps of its kernel."""

    @staticmethod
    def fits(layer: Any) -> bool:
        """Return whether this operation can compute the layer."""
        plain = layer.depth_multiplier == 1 and tuple(layer.dilation_rate) == (1, 1)
        return plain and layer.data_format == "channels_last"

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (batch, height, width, channels) with (height, width, channels, 1)."""
        return _depthwise(inputs, kernel[..., 0], tuple(self.layer.strides), self.layer.padding.upper())


class Pointwise(_Operation):
    """A 1x1 Conv2D as a matrix product."""

    @staticmethod
    def fits(layer: Any) -> bool:
        """Return whether this operation can compute the layer."""
        return tuple(layer.kernel_size) == (1, 1) and layer.groups == 1 and layer.data_format == "channels_last"

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (batch, height, width, channels) with (1, 1, channels, filters)."""
        down, right = self.layer.strides
        return jnp.tensordot(inputs[:, ::down, ::right], kernel[0, 0], 1)


OPERATIONS: dict[type, type[_Operation]] = {keras.layers.DepthwiseConv2D: Depthwise, keras.layers.Conv2D: Pointwise}


def install_model(model: keras.Model, report: Report) -> None:
    """Install on every convolution that becomes faster, and fill in ``report``; on an accelerator do nothing."""
    if jax.default_backend() != "cpu":
        return
    for layer in layers_and_graphs(model):
        operation = OPERATIONS.get(type(layer))
        if operation is None or not layer.built or layer.quantization_mode is not None or not operation.fits(layer):
            continue
        if replaced_method(layer, "call") is None:
            replace_method(layer, "call", operation(layer))
        if isinstance(replaced_method(layer, "call"), _Operation):
            report.patched.setdefault(type(layer).__name__, []).append(layer.name)


def remove_model(model: keras.Model) -> int:
    """Give every layer its stock ``call`` back; return how many had a native one."""
    native = [layer for layer in layers_and_graphs(model) if isinstance(replaced_method(layer, "call"), _Operation)]
    for layer in native:
        restore_method(layer, "call")
    return len(native)


def _depthwise_forward(inputs: Any, kernel: Any, strides: tuple[int, int], padding: str) -> Any:
    taps = _taps(inputs, kernel.shape[:2], strides, padding)
    return sum(tap * kernel[i, j] for (i, j), tap in taps)


_depthwise = jax.custom_vjp(_depthwise_forward, nondiff_argnums=(2, 3))


def _forward(inputs: Any, kernel: Any, strides: tuple[int, int], padding: str) -> Any:
    return _depthwise_forward(inputs, kernel, strides, padding), (inputs, kernel)


def _backward(strides: tuple[int, int], padding: str, saved: Any, gradient: Any) -> tuple[Any, Any]:
    """Return the gradients of inputs and kernel.

    The kernel's gradient is summed image by image: the products of a whole batch would not fit into the caches.
    """
    inputs, kernel = saved
    to_inputs = jax.vjp(lambda x: _depthwise_forward(x, kernel, strides, padding), inputs)[1](gradient)[0]

    def add(sums: list[Any], image: Any) -> tuple[list[Any], None]:
        one, slope = image
        taps = _taps(one[None], kernel.shape[:2], strides, padding)
        return [total + jnp.sum(tap[0] * slope, 0, total.dtype) for total, (_, tap) in zip(sums, taps)], None

    zero = jnp.zeros(gradient.shape[2:], jnp.promote_types(gradient.dtype, jnp.float32))
    sums, _ = lax.scan(add, [zero] * (kernel.shape[0] * kernel.shape[1]), (inputs, gradient))
    return to_inputs, jnp.stack([total.sum(0) for total in sums]).reshape(kernel.shape).astype(kernel.dtype)


_depthwise.defvjp(_forward, _backward)


def _taps(
    inputs: Any, window: tuple[int, ...], strides: tuple[int, int], padding: str
) -> Iterator[tuple[tuple[int, int], Any]]:
    """Yield ((row, column) of the kernel, the inputs that it multiplies), each of the size of the output."""
    batch, height, width, channels = inputs.shape
    sides = lax.padtype_to_pads((height, width), window, strides, padding)
    padded = jnp.pad(inputs, ((0, 0), *sides, (0, 0)))
    down, right = strides
    rows = (padded.shape[1] - window[0]) // down * down + 1
    columns = (padded.shape[2] - window[1]) // right * right + 1
    for i in range(window[0]):
        for j in range(window[1]):
            yield (i, j), lax.slice(padded, (0, i, j, 0), (batch, i + rows, j + columns, channels), (1, down, right, 1))
