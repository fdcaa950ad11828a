"""Autograd functions that keep only what the gradient needs and touch memory as rarely as possible."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from keras_transfer.engine.torch_native import onednn
from keras_transfer.engine.torch_native.activation import LINEAR, RELU, RELU6, Activation
from keras_transfer.engine.torch_native.tensors import Padding, pad

Geometry = tuple[tuple[int, int], Padding, tuple[int, int], int]
"""Stride, padding, dilation, groups."""

FROM_OUTPUT = (LINEAR, RELU, RELU6)
"""Activations whose gradient follows from their output."""


def activation_gradient(grad: torch.Tensor, output: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return the gradient before an activation of ``FROM_OUTPUT``, from the gradient and the value behind it."""
    if activation is RELU:
        return torch.ops.aten.threshold_backward(grad, output, 0.0)
    if activation is RELU6:
        return torch.ops.aten.hardtanh_backward(grad, output, 0.0, 6.0)
    return grad


def _separate(padding: Padding) -> tuple[bool, tuple[int, int]]:
    """Return whether the padding must be added by a copy, and what is left for the kernel."""
    (top, bottom), (left, right) = padding
    return (True, (0, 0)) if top != bottom or left != right else (False, (top, left))


class _Convolution(torch.autograd.Function):
    """Convolution, residual and activation in one kernel forward; padding costs no copy backward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        residual: torch.Tensor | None,
        geometry: Geometry,
        activation: Activation,
    ) -> torch.Tensor:
        stride, padding, dilation, groups = geometry
        copied, amount = _separate(padding)
        if copied:
            x = pad(x, padding)
        inner: Geometry = (stride, ((amount[0],) * 2, (amount[1],) * 2), dilation, groups)
        if onednn.available(x):
            y = onednn.convolve(x, weight, bias, *inner, activation, residual)
        else:
            y = F.conv2d(x, weight, None if bias is None else bias.to(x.dtype), stride, amount, dilation, groups)
            if residual is not None:
                y = y.add_(residual)
            y = activation(y, owned=True)
        ctx.save_for_backward(x, weight, None if activation is LINEAR else y)
        ctx.geometry, ctx.activation, ctx.amount = geometry, activation, amount
        ctx.padding = padding if copied else None
        ctx.bias_shape = None if bias is None else list(bias.shape)
        ctx.bias_dtype = None if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        x, weight, y = ctx.saved_tensors
        stride, _, dilation, groups = ctx.geometry
        need_x, need_weight, need_bias, need_residual = ctx.needs_input_grad[:4]
        if y is not None:
            grad = activation_gradient(grad, y, ctx.activation)

        def gradients(g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, mask: list[bool]) -> tuple[Any, ...]:
            return torch.ops.aten.convolution_backward(
                g, x, w, ctx.bias_shape, stride, ctx.amount, dilation, False, [0, 0], groups, mask
            )

        # oneDNN has no fast bfloat16 kernel for the input gradient of a strided depthwise convolution (20 times
        # slower than float32, where it has one).
        apart = need_x and groups > 1 and max(stride) > 1 and x.dtype == torch.bfloat16 and x.device.type == "cpu"
        dx, dw, db = gradients(grad, x, weight, [need_x and not apart, need_weight, need_bias])
        if apart:
            like = grad.new_empty(1, dtype=torch.float32).expand(x.shape)  # only its shape is used
            dx = gradients(grad.float(), like, weight.float(), [True, False, False])[0].to(x.dtype)
        if dx is not None and ctx.padding is not None:
            (top, bottom), (left, right) = ctx.padding
            dx = dx[:, :, top : dx.shape[2] - bottom, left : dx.shape[3] - right]
        db = db.to(ctx.bias_dtype) if db is not None else None
        return dx, dw, db, grad if need_residual else None, None, None


def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    geometry: Geometry,
    activation: Activation,
) -> torch.Tensor:
    """Return ``activation(convolution(x) + residual)`` for an NCHW tensor, recorded for the gradient.

    ``activation`` is one of ``FROM_OUTPUT``; ``bias`` may be float32 for half-precision tensors.
    """
    return _Convolution.apply(x, weight, bias, residual, geometry, activation)
