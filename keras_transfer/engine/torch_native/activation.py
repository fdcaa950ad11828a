"""Activations that are one torch kernel, and whether the kernel may overwrite its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import torch
import torch.nn.functional as F

TensorFn = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Activation:
    """A pointwise function of one tensor.

    Attributes:
        name: the Keras name.
        apply: out of place.
        in_place: overwrites its input; valid under autograd too, since the gradient needs only the output (``None``
            where it needs the input).
        overwrite: overwrites its input; valid only where autograd records nothing.
        pointwise: oneDNN's name for it as a post-operation of a convolution (``None``: cannot be fused).
        scalars: parameters of ``pointwise``.
        algorithm: variant of ``pointwise``.
    """

    name: str
    apply: TensorFn
    in_place: TensorFn | None = None
    overwrite: TensorFn | None = None
    pointwise: str | None = None
    scalars: tuple[float, ...] = ()
    algorithm: str | None = None

    def __call__(self, x: torch.Tensor, owned: bool = False) -> torch.Tensor:
        """Apply to ``x``; ``owned``: ``x`` is not read again and may be overwritten."""
        if owned and self.in_place is not None:
            return self.in_place(x)
        if owned and self.overwrite is not None and not (torch.is_grad_enabled() and x.requires_grad):
            return self.overwrite(x)
        return self.apply(x)


class _ClampInPlace(torch.autograd.Function):
    """``hardtanh_`` without the copy of its input that torch keeps for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: float, high: float) -> torch.Tensor:  # type: ignore[override]
        x.clamp_(low, high)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, y, *ctx.bounds), None, None


def relu6_(x: torch.Tensor) -> torch.Tensor:
    """Clamp ``x`` to 0..6 in place, recorded for the gradient."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _ClampInPlace.apply(x, 0.0, 6.0)
    return x.clamp_(0.0, 6.0)


RELU = Activation("relu", F.relu, in_place=torch.relu_, pointwise="relu")
RELU6 = Activation("relu6", F.relu6, in_place=relu6_, pointwise="hardtanh", scalars=(0.0, 6.0))
LINEAR = Activation("linear", lambda x: x, in_place=lambda x: x, pointwise="none")
SILU = Activation("silu", F.silu, overwrite=lambda x: F.silu(x, inplace=True), pointwise="swish")
HARD_SILU = Activation(
    "hard_silu", F.hardswish, overwrite=lambda x: F.hardswish(x, inplace=True), pointwise="hardswish"
)
SIGMOID = Activation("sigmoid", torch.sigmoid, in_place=torch.sigmoid_, pointwise="sigmoid")
HARD_SIGMOID = Activation(
    "hard_sigmoid", F.hardsigmoid, overwrite=lambda x: F.hardsigmoid(x, inplace=True), pointwise="hardsigmoid"
)
TANH = Activation("tanh", torch.tanh, in_place=torch.tanh_, pointwise="tanh")

_BY_FUNCTION = {
    keras.activations.relu: RELU,
    keras.activations.relu6: RELU6,
    keras.activations.linear: LINEAR,
    keras.activations.silu: SILU,
    keras.activations.hard_silu: HARD_SILU,
    keras.activations.sigmoid: SIGMOID,
    keras.activations.hard_sigmoid: HARD_SIGMOID,
    keras.activations.tanh: TANH,
}


def from_function(function: object) -> Activation | None:
    """Return the torch activation for a Keras function (``None`` is linear), or ``None`` if there is none."""
    if function is None:
        return LINEAR
    try:
        return _BY_FUNCTION.get(function)  # type: ignore[call-overload]
    except TypeError:  # an unhashable callable object
        return None


def from_layer(layer: keras.layers.Layer) -> Activation | None:
    """Return the torch activation that a ``ReLU`` or ``Activation`` layer computes, or ``None``."""
    if type(layer) is keras.layers.ReLU:
        if float(layer.negative_slope) != 0.0 or float(layer.threshold) != 0.0:
            return None
        return {None: RELU, 6.0: RELU6}.get(None if layer.max_value is None else float(layer.max_value))
    if type(layer) is keras.layers.Activation:
        return from_function(layer.activation)
    return None
