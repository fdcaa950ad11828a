"""Autograd functions that save only what the gradient needs and make few passes over memory."""

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
"""Activations whose gradient can be computed from their output."""


def activation_gradient(grad: torch.Tensor, output: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return the gradient at the input of an activation of ``FROM_OUTPUT``, from gradient and value at its output."""
    if activation is RELU:
        return torch.ops.aten.threshold_backward(grad, output, 0.0)
    if activation is RELU6:
        return torch.ops.aten.hardtanh_backward(grad, output, 0.0, 6.0)
    return grad


def _separate(padding: Padding) -> tuple[bool, tuple[int, int]]:
    """Return whether the padding needs a copy, and the padding that is left to the kernel."""
    (top, bottom), (left, right) = padding
    return (True, (0, 0)) if top != bottom or left != right else (False, (top, left))


def _gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_shape: list[int] | None,
    geometry: tuple[Any, ...],
    mask: list[bool],
    wide: bool,
) -> tuple[torch.Tensor | None, ...]:
    """Return the masked gradients of input, weight and bias, computed in float32 if ``wide``."""
    stride, amount, dilation, groups = geometry
    dtype = x.dtype
    if wide:
        grad, weight = grad.float(), weight.float()
        # The gradient of the input needs only the input's shape and memory format.
        x = x.float() if mask[1] else torch.empty_like(x, dtype=torch.float32)
    parts = torch.ops.aten.convolution_backward(
        grad, x, weight, bias_shape, stride, amount, dilation, False, [0, 0], groups, mask
    )
    return tuple(part.to(dtype) if part is not None else None for part in parts)


def _product(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the weight gradient of a 1x1 convolution with stride 1: a sum of outer products over all positions."""
    rows = [tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1]) for tensor in (grad, x)]
    return (rows[0].T @ rows[1])[:, :, None, None]


def _torch_does_as_well(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: Padding,
    stride: tuple[int, int],
    groups: int,
) -> bool:
    """Return whether ``F.conv2d`` runs the same kernels, gradient included, without Python code in between."""
    if _separate(padding)[0] or (bias is not None and bias.dtype != x.dtype):
        return False
    slow = (*onednn.better_in_float32(x, weight, stride, groups), onednn.better_as_product(x, weight, stride, groups))
    return not any(slow)


def _whole_image(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation
) -> torch.Tensor:
    """Convolve with a window that covers the image: a fully connected layer, and computed as one."""
    rows = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
    columns = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
    y = activation(F.linear(rows, columns, None if bias is None else bias.to(x.dtype)), owned=True)
    return y[:, :, None, None]


class _SkipRows(torch.autograd.Function):
    """Every n-th row and column of an NCHW tensor: the positions that a strided 1x1 convolution reads.

    The convolution on them has stride 1, for whose gradients oneDNN has faster code.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:  # type: ignore[override]
        ctx.shape, ctx.stride = x.shape, stride
        return x[:, :, :: stride[0], :: stride[1]].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        whole = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last).zero_()
        whole[:, :, :: ctx.stride[0], :: ctx.stride[1]] = grad
        return whole, None


class _Convolution(torch.autograd.Function):
    """Convolution, residual and activation in one kernel; in the backward pass padding needs no copy."""

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

        wide_x, wide_weight = onednn.better_in_float32(x, weight, stride, groups)
        found: list[torch.Tensor | None] = [None, None, None]
        if need_weight and onednn.better_as_product(x, weight, stride, groups):
            found[1] = _product(grad, x)
            need_weight = False
        for wide in (False, True):
            mask = [need_x and wide_x is wide, need_weight and wide_weight is wide, need_bias and not wide]
            if any(mask):
                parts = _gradients(grad, x, weight, ctx.bias_shape, (stride, ctx.amount, dilation, groups), mask, wide)
                found = [new if new is not None else old for new, old in zip(parts, found)]
        dx, dw, db = found
        if dx is not None and ctx.padding is not None:
            (top, bottom), (left, right) = ctx.padding
            dx = dx[:, :, top : dx.shape[2] - bottom, left : dx.shape[3] - right]
        return dx, dw, db if db is None else db.to(ctx.bias_dtype), grad if need_residual else None, None, None


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
    stride, padding, dilation, groups = geometry
    if residual is None and onednn.covers_image(x, weight, padding, groups):
        return _whole_image(x, weight, bias, activation)
    if max(stride) > 1 and onednn.better_with_rows_skipped(x, weight, padding, groups):
        x, stride = _SkipRows.apply(x, stride), (1, 1)
        geometry = (stride, padding, dilation, groups)
    if residual is None and activation is LINEAR and _torch_does_as_well(x, weight, bias, padding, stride, groups):
        return F.conv2d(x, weight, bias, stride, _separate(padding)[1], dilation, groups)
    return _Convolution.apply(x, weight, bias, residual, geometry, activation)
