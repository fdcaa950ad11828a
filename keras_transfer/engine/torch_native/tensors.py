"""Layout helpers: Keras sees ``(batch, height, width, channels)``, the kernels see channels-last memory.

A contiguous NHWC tensor and a channels-last NCHW tensor are the same bytes, so going from one to the
other is a permutation of the strides and never a copy. Everything in this package keeps to that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.torch.core import get_device

Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in pixels."""


def is_real(x: object, ndim: int | None = 4) -> bool:
    """Whether ``x`` is a tensor to compute with and the variables are the layer's own.

    No: symbolic stand-ins for shape inference, Keras's stateless calls, which bring their own values, and
    torch's compiler, which makes its own kernels from the stock graph.
    """
    if torch.compiler.is_compiling():
        return False
    if not isinstance(x, torch.Tensor) or x.is_meta or str(get_device()) == "meta" or in_stateless_scope():
        return False
    return ndim is None or x.ndim == ndim


def nchw(x: torch.Tensor) -> torch.Tensor:
    """View NHWC as NCHW whose memory is channels-last; copies only if the producer left odd strides."""
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def nhwc(x: torch.Tensor) -> torch.Tensor:
    """View NCHW as NHWC (contiguous if the memory is channels-last)."""
    return x.permute(0, 2, 3, 1)


@lru_cache(maxsize=4096)
def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the (before, after) padding of TensorFlow's ``same``: the odd pixel goes after."""
    span = (kernel - 1) * dilation + 1
    if stride == 1:
        total = span - 1
    else:
        total = max(0, (-(-size // stride) - 1) * stride + span - size)
    return total // 2, total - total // 2


def resolve_padding(
    mode: str, shape: torch.Size, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> Padding:
    """Return the padding in pixels of ``valid`` or ``same`` for an NCHW ``shape``."""
    if mode == "valid":
        return (0, 0), (0, 0)
    return (
        same_padding(shape[2], kernel[0], stride[0], dilation[0]),
        same_padding(shape[3], kernel[1], stride[1], dilation[1]),
    )


def add_padding(a: Padding, b: Padding) -> Padding:
    """Sum two paddings."""
    return (a[0][0] + b[0][0], a[0][1] + b[0][1]), (a[1][0] + b[1][0], a[1][1] + b[1][1])


def pad(x: torch.Tensor, padding: Padding, value: float = 0.0) -> torch.Tensor:
    """Pad an NCHW tensor in height and width; channels-last memory stays channels-last."""
    (top, bottom), (left, right) = padding
    if needs_grad(x):
        return F.pad(x, (left, right, top, bottom), value=value)
    # F.pad writes the whole result twice: the value everywhere, then the interior.
    batch, channels, height, width = x.shape
    shape = (batch, channels, top + height + bottom, left + width + right)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    y[:, :, :top] = value
    y[:, :, top + height :] = value
    y[:, :, top : top + height, :left] = value
    y[:, :, top : top + height, left + width :] = value
    y[:, :, top : top + height, left : left + width] = x
    return y


class _KernelToTorch(torch.autograd.Function):
    """HWIO → OIHW in channels-last memory, as ONE two-dimensional transpose each way.

    The general strided copy behind ``permute().contiguous()`` is five to ten times slower than torch's
    blocked transpose, and stock Keras pays it on every kernel of every step, and once more for its gradient.
    """

    @staticmethod
    def forward(ctx: object, kernel: torch.Tensor) -> torch.Tensor:
        height, width, in_channels, out_channels = kernel.shape
        flat = kernel.contiguous().view(-1, out_channels).t().contiguous()
        return flat.view(out_channels, height, width, in_channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        out_channels, in_channels, height, width = grad.shape
        flat = grad.permute(0, 2, 3, 1).reshape(out_channels, -1).t().contiguous()
        return flat.view(height, width, in_channels, out_channels)


def to_oihw(kernel: torch.Tensor) -> torch.Tensor:
    """Return a Keras kernel (HWIO) as a torch weight (OIHW, channels-last memory), differentiably.

    No copy where the numbers lie that way already (:mod:`~keras_transfer.engine.torch_native.layout`).
    """
    weight = kernel.permute(3, 2, 0, 1)
    if weight.is_contiguous(memory_format=torch.channels_last):
        return weight
    return _KernelToTorch.apply(kernel)


def depthwise_to_oihw(kernel: torch.Tensor) -> torch.Tensor:
    """Return a Keras depthwise kernel (H, W, C, M) as a torch grouped weight (C·M, 1, H, W)."""
    height, width, channels, multiplier = kernel.shape
    return kernel.reshape(height * width, channels * multiplier).t().reshape(-1, 1, height, width)


def needs_grad(*tensors: torch.Tensor | None) -> bool:
    """Whether autograd would record an operation on ``tensors``."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class Cached:
    """One derived tensor, kept as long as the tensors it came from have not been written to.

    Torch counts the in-place writes to a tensor (``_version``); Keras assigns in place, optimizers too.
    """

    __slots__ = ("_entry",)

    def __init__(self) -> None:
        """Start empty."""
        self._entry: tuple[tuple, tuple, Any] | None = None

    def get(self, sources: tuple[torch.Tensor | None, ...], extra: tuple, make: Callable[[], Any]) -> Any:
        """Return ``make()``, or its last result if ``sources`` (by identity and version) and ``extra`` are the same."""
        key = (tuple(-1 if s is None else (id(s), s._version, s.data_ptr()) for s in sources), extra)
        entry = self._entry  # one read and one write, so that threads that predict together never mix two entries
        if entry is None or entry[0] != key:
            # holding the sources keeps their ids from being given to other tensors
            self._entry = entry = (key, sources, make())
        return entry[2]

    def clear(self) -> None:
        """Forget the value and free its memory."""
        self._entry = None
