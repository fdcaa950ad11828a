"""Conv2D, DepthwiseConv2D and SeparableConv2D without the two layout copies that stock Keras makes around each."""

from __future__ import annotations

import keras
import torch
import torch.nn.functional as F

from keras_transfer.engine.torch_native import activation as activations
from keras_transfer.engine.torch_native.layout import settle
from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.tensors import (
    Cached,
    Padding,
    depthwise_to_oihw,
    is_real,
    nchw,
    needs_grad,
    nhwc,
    pad,
    resolve_padding,
    to_oihw,
)
from keras_transfer.keras_compat.torch import base_kernel, raw_value

NO_PADDING: Padding = ((0, 0), (0, 0))


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    groups: int,
) -> torch.Tensor:
    """Convolve an NCHW tensor; asymmetric padding is added by a copy first."""
    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        return F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)
    return F.conv2d(pad(x, padding), weight, bias, stride, 0, dilation, groups)


class Convolution(LayerOperation):
    """Common part of Conv2D and DepthwiseConv2D."""

    depthwise = False

    def __init__(self, layer: keras.layers.Layer):
        """Read the geometry of ``layer``, which is fixed; its variables are read at every call."""
        super().__init__(layer)
        self.window = tuple(layer.kernel_size)
        self.stride = tuple(layer.strides)
        self.dilation = tuple(layer.dilation_rate)
        self.mode = layer.padding
        self.activation = activations.from_function(layer.activation)
        self._weight = Cached()
        if not self.depthwise:
            settle(self.kernel)

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why ``layer`` must stay stock, or ``None``."""
        if layer.data_format != "channels_last":
            return "channels_first"
        if layer.padding not in ("valid", "same"):
            return f"padding {layer.padding!r}"
        return None

    def bias(self) -> torch.Tensor | None:
        """Return the bias in the compute dtype, if there is one."""
        return self.value(self.layer.bias) if self.layer.use_bias else None

    @property
    def kernel(self) -> keras.Variable:
        """The kernel variable, in Keras's layout."""
        return self.layer.kernel if self.depthwise else base_kernel(self.layer)

    def to_oihw(self, kernel: torch.Tensor) -> torch.Tensor:
        """Convert a kernel from Keras's layout to torch's."""
        return depthwise_to_oihw(kernel) if self.depthwise else to_oihw(kernel)

    def weight(self) -> torch.Tensor:
        """Return the OIHW weight: cached if no gradient is recorded, else computed differentiably."""
        kernel = self.kernel
        value = raw_value(kernel)
        if needs_grad(value):
            self._weight.clear()
            return self.to_oihw(self.value(kernel))
        return self._weight.get((value,), (self.dtype,), lambda: self.to_oihw(self.value(kernel)).detach())

    def groups(self, channels: int) -> int:
        """Return the number of groups for an input of that many channels."""
        return channels if self.depthwise else self.layer.groups

    def padding(self, shape: torch.Size) -> Padding:
        """Return the padding in pixels for an NCHW input."""
        return resolve_padding(self.mode, shape, self.window, self.stride, self.dilation)

    def accepts(self, x: object, *args: object, **kwargs: object) -> bool:
        """Accept real four-dimensional tensors; a layer with LoRA adapters runs stock."""
        return not args and not kwargs and is_real(x) and not self.layer.lora_enabled

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer, NHWC to NHWC."""
        x = nchw(x)
        y = convolve(
            x, self.weight(), self.bias(), self.stride, self.padding(x.shape), self.dilation, self.groups(x.shape[1])
        )
        if self.activation is None:
            return self.layer.activation(nhwc(y))
        # Before the permutation: overwriting a view would make autograd copy.
        return nhwc(self.activation(y, owned=True))


class Conv2D(Convolution):
    """``keras.layers.Conv2D``, grouped convolution included."""


class DepthwiseConv2D(Convolution):
    """``keras.layers.DepthwiseConv2D`` with any depth multiplier."""

    depthwise = True

    def accepts(self, x: object, *args: object, **kwargs: object) -> bool:
        """Accept real four-dimensional tensors."""
        return not args and not kwargs and is_real(x)


class SeparableConv2D(LayerOperation):
    """``keras.layers.SeparableConv2D``: depthwise, then pointwise with stride 1."""

    def __init__(self, layer: keras.layers.Layer):
        """Read the geometry of ``layer``."""
        super().__init__(layer)
        self.window = tuple(layer.kernel_size)
        self.stride = tuple(layer.strides)
        self.dilation = tuple(layer.dilation_rate)
        self.activation = activations.from_function(layer.activation)

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why ``layer`` must stay stock, or ``None``."""
        return Convolution.refuses(layer)

    def accepts(self, x: object, *args: object, **kwargs: object) -> bool:
        """Accept real four-dimensional tensors."""
        return not args and not kwargs and is_real(x)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer, NHWC to NHWC."""
        layer = self.layer
        x = nchw(x)
        padding = resolve_padding(layer.padding, x.shape, self.window, self.stride, self.dilation)
        depthwise = depthwise_to_oihw(self.value(layer.depthwise_kernel))
        x = convolve(x, depthwise, None, self.stride, padding, self.dilation, x.shape[1])
        bias = self.value(layer.bias) if layer.use_bias else None
        y = F.conv2d(x, to_oihw(self.value(layer.pointwise_kernel)), bias)
        if self.activation is None:
            return layer.activation(nhwc(y))
        return nhwc(self.activation(y, owned=True))
