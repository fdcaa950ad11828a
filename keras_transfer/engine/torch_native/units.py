"""Fused steps: several layers of a graph computed as one, with exact gradients.

The tensors between the layers belong to the step, so it may overwrite them as far as autograd has not saved them:
convolution and normalization save their input, never their output.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import torch

from keras_transfer.engine.torch_native import autograd, onednn
from keras_transfer.engine.torch_native.activation import LINEAR, Activation
from keras_transfer.engine.torch_native.autograd import Geometry
from keras_transfer.engine.torch_native.convolution import NO_PADDING, Convolution, convolve
from keras_transfer.engine.torch_native.normalization import BatchNormalization
from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.pooling import Pooling2D, max_pool
from keras_transfer.engine.torch_native.tensors import (
    Cached,
    Padding,
    add_padding,
    is_real,
    nchw,
    needs_grad,
    nhwc,
)
from keras_transfer.keras_compat.torch import raw_value


@dataclass
class Unit:
    """One step of a graph: ``layers`` in order of computation; the output is that of the last one."""

    layers: list[keras.layers.Layer] = field(default_factory=list)
    activation: Activation = LINEAR

    @property
    def name(self) -> str:
        """The pattern, e.g. ``Conv2D+BatchNormalization+ReLU``."""
        return "+".join(type(layer).__name__ for layer in self.layers)

    def ready(self, inputs: list[torch.Tensor]) -> bool:
        """Return whether the step can compute ``inputs`` now: real floating tensors, one compute dtype in all layers."""
        dtype = self.layers[0].compute_dtype
        if any(layer.compute_dtype != dtype for layer in self.layers[1:]):
            return False
        return all(is_real(x, None) and x.is_floating_point() for x in inputs)

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Compute the step, NHWC to NHWC."""
        raise NotImplementedError


@dataclass
class LayerUnit(Unit):
    """One native layer by itself."""

    operation: LayerOperation = None  # type: ignore[assignment]

    def ready(self, inputs: list[torch.Tensor]) -> bool:
        """As every step, and the operation must accept the tensor."""
        return super().ready(inputs) and self.operation.accepts(*inputs)

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Compute the layer."""
        return self.operation.run(inputs[0].to(self.operation.dtype))


@dataclass
class NormalizationUnit(LayerUnit):
    """BatchNormalization and the activation after it."""

    operation: BatchNormalization = None  # type: ignore[assignment]

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Normalize, then overwrite the result."""
        norm = self.operation
        x = inputs[0].to(norm.dtype)
        y = norm.normalize(nchw(x) if x.ndim == 4 else x, norm.uses_batch_statistics(training))
        y = self.activation(y, owned=True)
        return nhwc(y) if x.ndim == 4 else y


@dataclass
class PaddedPoolUnit(Unit):
    """Zero padding before max pooling of non-negative values, for which padding by -inf gives the same maxima."""

    operation: Pooling2D = None  # type: ignore[assignment]
    padding: Padding = NO_PADDING

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Pool with the padding inside the kernel."""
        x = nchw(inputs[0].to(self.operation.dtype))
        return nhwc(max_pool(x, self.operation.window, self.operation.stride, self.padding))


@dataclass
class AddUnit(Unit):
    """A sum and the activation after it."""

    def ready(self, inputs: list[torch.Tensor]) -> bool:
        """As every step, and all inputs must have one shape."""
        return super().ready(inputs) and all(x.shape == inputs[0].shape for x in inputs[1:])

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Add, then overwrite the sum."""
        dtype = getattr(torch, self.layers[0].compute_dtype)
        total = torch.add(inputs[0].to(dtype), inputs[1].to(dtype))
        for x in inputs[2:]:
            total = total.add_(x.to(dtype))
        return self.activation(total, owned=True)


@dataclass
class ConvolutionUnit(Unit):
    """[ZeroPadding2D] + convolution + [BatchNormalization] + [Add] + [activation].

    Normalization by stored statistics is folded into the weights: the function is the same, and the normalization costs
    nothing in either pass. Where no gradient is recorded, the folded weights are cached until one of their variables is
    written to.
    """

    conv: Convolution = None  # type: ignore[assignment]
    norm: BatchNormalization | None = None
    extra: Padding = NO_PADDING
    residual: bool = False
    _folded: Cached = field(default_factory=Cached, repr=False)

    def ready(self, inputs: list[torch.Tensor]) -> bool:
        """As every step; the convolution must accept the tensor, and a residual must have the output's shape."""
        if not super().ready(inputs) or not self.conv.accepts(inputs[0]):
            return False
        if self.residual:
            return is_real(inputs[1]) and inputs[1].shape == self.output_shape(inputs[0].shape)
        return True

    def output_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """Return the NHWC shape that the convolution gives for an NHWC input."""
        batch, height, width, channels = shape
        padding = self.padding(torch.Size((batch, channels, height, width)))
        sizes = []
        for size, (before, after), k, s, d in zip(
            (height, width), padding, self.conv.window, self.conv.stride, self.conv.dilation
        ):
            sizes.append((size + before + after - (k - 1) * d - 1) // s + 1)
        kernel = self.conv.kernel.shape
        return batch, *sizes, kernel[-1] * kernel[-2] if self.conv.depthwise else kernel[-1]

    def padding(self, shape: torch.Size) -> Padding:
        """Return the whole padding in pixels for an NCHW input."""
        return add_padding(self.conv.padding(shape), self.extra)

    def __call__(self, inputs: list[torch.Tensor], training: bool | None) -> torch.Tensor:
        """Compute the step."""
        conv, norm = self.conv, self.norm
        x = nchw(inputs[0].to(conv.dtype))
        residual = nchw(inputs[1].to(conv.dtype)) if self.residual else None
        geometry = (conv.stride, self.padding(x.shape), conv.dilation, conv.groups(x.shape[1]))
        if norm is None or not norm.uses_batch_statistics(training):
            sources = self.sources()
            if not needs_grad(x, residual, *sources):
                return nhwc(self.infer(x, residual, sources, geometry))
            self._folded.clear()  # the variables are about to be updated
            if norm is None or not needs_grad(*norm.parameters()):
                return nhwc(self.convolve(x, *self.fold(record=True), residual, geometry, self.activation))
        if norm is not None and norm.uses_batch_statistics(training):
            y = norm.normalize_batch(self.convolve(x, conv.weight(), None, None, geometry, LINEAR), conv.bias())
            return nhwc(self.finish(y, residual))
        y = self.convolve(x, conv.weight(), conv.bias(), None, geometry, LINEAR)
        if norm is not None:
            y = norm.normalize(y, False)
        return nhwc(self.finish(y, residual))

    @staticmethod
    def convolve(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        geometry: Geometry,
        activation: Activation,
    ) -> torch.Tensor:
        """Convolve, add and activate, recorded for the gradient."""
        if residual is not None and not onednn.can_add(x, geometry[3]):
            return activation(autograd.convolution(x, weight, bias, None, geometry, LINEAR).add_(residual), owned=True)
        if activation not in autograd.FROM_OUTPUT:
            return activation(autograd.convolution(x, weight, bias, residual, geometry, LINEAR), owned=True)
        return autograd.convolution(x, weight, bias, residual, geometry, activation)

    def finish(self, y: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        """Add the residual and apply the activation, overwriting ``y``."""
        if residual is not None:
            y = y.add_(residual)
        return self.activation(y, owned=True)

    def sources(self) -> tuple[torch.Tensor | None, ...]:
        """Return the tensors that the folded weights are computed from."""
        layer = self.conv.layer
        bias = raw_value(layer.bias) if layer.use_bias else None
        return (raw_value(self.conv.kernel), bias, *(self.norm.parameters() if self.norm is not None else ()))

    def fold(self, record: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the OIHW weight in the compute dtype and the bias, not cast, with the normalization folded in."""
        conv, dtype = self.conv, self.conv.dtype
        kernel, bias = self.sources()[:2]
        if self.norm is None:
            weight = conv.weight() if record else conv.to_oihw(kernel.to(dtype))  # type: ignore[union-attr]
            return weight, bias
        scale, shift = self.norm.affine()
        per_output = scale.view(kernel.shape[-2:]) if conv.depthwise else scale  # type: ignore[union-attr]
        weight = conv.to_oihw((kernel * per_output.to(kernel.dtype)).to(dtype))  # type: ignore[union-attr, operator]
        if bias is not None:
            shift = bias * scale.to(bias.dtype) + shift.to(bias.dtype)
        return weight, shift.to(kernel.dtype)  # type: ignore[union-attr]

    def infer(
        self,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        sources: tuple[torch.Tensor | None, ...],
        geometry: Geometry,
    ) -> torch.Tensor:
        """Compute without recording a gradient."""
        stride, padding, dilation, groups = geometry
        packed = onednn.available(x)

        @torch.no_grad()
        def prepare() -> tuple[torch.Tensor, torch.Tensor | None]:
            weight, bias = self.fold(record=False)
            return (onednn.pack(weight, padding, stride, dilation, groups, x.shape) if packed else weight), bias

        weight, bias = self._folded.get(sources, (self.conv.dtype, packed and x.shape[2:]), prepare)
        if not packed:
            return self.finish(convolve(x, weight, None if bias is None else bias.to(x.dtype), *geometry), residual)
        if self.activation.pointwise is not None and (residual is None or onednn.can_add(x, groups)):
            return onednn.convolve(x, weight, bias, *geometry, self.activation, residual)
        return self.finish(onednn.convolve(x, weight, bias, *geometry, LINEAR), residual)
