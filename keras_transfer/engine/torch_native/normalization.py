"""BatchNormalization as one fused kernel, with Keras's moving statistics."""

from __future__ import annotations

from typing import Any

import keras
import torch

from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.tensors import Cached, is_real, nchw, nhwc
from keras_transfer.keras_compat.torch import raw_value


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of statistics and parameters: float32 for half-precision inputs, as in Keras."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class BatchNormalization(LayerOperation):
    """``keras.layers.BatchNormalization`` over the last axis, in both modes.

    Differences between the two libraries: torch's momentum is one minus Keras's; torch updates the running variance with
    the unbiased variance of the batch, Keras with the biased one.
    """

    def __init__(self, layer: keras.layers.Layer):
        """Start with an empty cache."""
        super().__init__(layer)
        self._affine = Cached()

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why ``layer`` must stay stock, or ``None``."""
        if layer.renorm:
            return "batch renormalization"
        if layer.synchronized:
            return "synchronized statistics"
        ndim = layer.input_spec.ndim if layer.input_spec is not None else None
        if ndim not in (2, 4):
            return f"input of rank {ndim}"
        if layer.axis not in (-1, ndim - 1):
            return f"axis {layer.axis}"
        return None

    def accepts(self, x: object, *args: Any, training: bool | None = None, mask: object = None) -> bool:
        """Accept real floating tensors without a mask."""
        return not args and mask is None and is_real(x, None) and x.is_floating_point()  # type: ignore[attr-defined]

    def uses_batch_statistics(self, training: bool | None) -> bool:
        """Return whether the batch's statistics are used and recorded; a frozen layer uses the stored ones."""
        return bool(training) and self.layer.trainable

    def parameters(self) -> tuple[torch.Tensor | None, ...]:
        """Return the tensors of gamma, beta, moving mean and moving variance, uncast."""
        layer = self.layer
        gamma = raw_value(layer.gamma) if layer.scale else None
        beta = raw_value(layer.beta) if layer.center else None
        return gamma, beta, raw_value(layer.moving_mean), raw_value(layer.moving_variance)

    def affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(scale, shift)`` such that inference is ``x * scale + shift``; they carry no gradient."""
        gamma, beta, mean, variance = parameters = self.parameters()

        @torch.no_grad()
        def compute() -> tuple[torch.Tensor, torch.Tensor]:
            # In float64, so that folding adds no more than one rounding to each weight.
            scale = (variance.double() + self.layer.epsilon).rsqrt()  # type: ignore[union-attr]
            if gamma is not None:
                scale = scale * gamma.double()
            shift = -mean.double() * scale  # type: ignore[union-attr]
            if beta is not None:
                shift = shift + beta.double()
            return scale, shift

        return self._affine.get(parameters, (), compute)

    def run(self, x: torch.Tensor, training: bool | None = None, mask: None = None) -> torch.Tensor:
        """Compute the layer over the last axis."""
        y = self.normalize(nchw(x) if x.ndim == 4 else x, self.uses_batch_statistics(training))
        return nhwc(y) if x.ndim == 4 else y

    def normalize(self, x: torch.Tensor, batch_statistics: bool) -> torch.Tensor:
        """Normalize over axis 1; record the batch's statistics if they are used."""
        if batch_statistics:
            return self.normalize_batch(x)
        wide = wide_dtype(x.dtype)
        gamma, beta, mean, variance = (None if p is None else p.to(wide) for p in self.parameters())
        if torch.is_grad_enabled():  # the moving statistics may be written to before the backward pass
            mean, variance = mean.clone(), variance.clone()  # type: ignore[union-attr]
        cudnn = torch.backends.cudnn.enabled
        return torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, self.layer.epsilon, cudnn).to(self.dtype)

    def normalize_batch(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize over axis 1 by the batch's statistics and record them.

        Args:
            x: the tensor to normalize.
            bias: bias of the layer before, not yet added to ``x``: subtracting the batch's mean cancels it, so that it
                affects the moving mean only. Its gradient, zero up to rounding, is exactly zero here.
        """
        wide = wide_dtype(x.dtype)
        gamma, beta = (p if p is None or p.dtype == wide else p.to(wide) for p in self.parameters()[:2])
        mean = torch.zeros(x.shape[1], dtype=wide, device=x.device)
        variance = torch.zeros(x.shape[1], dtype=wide, device=x.device)
        if bias is not None and bias.requires_grad:
            nothing = bias.to(wide) * 0.0
            beta = nothing if beta is None else beta + nothing
        # Momentum 1 leaves exactly the batch's statistics in the two buffers.
        epsilon, cudnn = self.layer.epsilon, torch.backends.cudnn.enabled
        y = torch.batch_norm(x, gamma, beta, mean, variance, True, 1.0, epsilon, cudnn)
        self._record(mean if bias is None else mean + bias.detach(), variance, x.numel() // x.shape[1])
        return y.to(self.dtype)

    @torch.no_grad()
    def _record(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        # Out of place: autograd has saved the buffer. The unbiased variance of one value is 0/0.
        variance = variance * ((count - 1) / count) if count > 1 else torch.zeros_like(variance)
        weight = 1.0 - self.layer.momentum
        for variable, batch in ((self.layer.moving_mean, mean), (self.layer.moving_variance, variance)):
            moving = raw_value(variable)
            moving.lerp_(batch.to(moving.dtype), weight)
