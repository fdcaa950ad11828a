"""Layout helpers: Keras passes ``(batch, height, width, channels)``, the kernels take NCHW in channels-last memory.

A contiguous NHWC tensor and a channels-last NCHW tensor are the same bytes, so that one becomes the other by permuting the
strides, without a copy. All modules of this package rely on that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from keras_transfer.keras_compat.torch import get_device, in_stateless_scope

Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)), in pixels."""


def is_real(x: object, ndim: int | None = 4) -> bool:
    """Return whether ``x`` holds values, and the layer's variables hold theirs.

    Not so during shape inference, in Keras's stateless calls (the caller passes the variables' values) and under torch's
    compiler (which generates its own kernels from the stock graph).
    """
    if torch.compiler.is_compiling():
        return False
    if not isinstance(x, torch.Tensor) or x.is_meta or str(get_device()) == "meta" or in_stateless_scope():
        return False
    return ndim is None or x.ndim == ndim


def nchw(x: torch.Tensor) -> torch.Tensor:
    """View NHWC as NCHW in channels-last memory; copies only if ``x`` has other strides."""
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
    """HWIO → OIHW in channels-last memory, as one two-dimensional transpose each way.

    The general strided copy behind ``permute().contiguous()`` is five to ten times slower than torch's blocked transpose;
    stock Keras makes it for every kernel in every step, and again for its gradient.
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

    No copy is made if the kernel is stored in that layout (:mod:`~keras_transfer.engine.torch_native.layout`).
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
    """Return whether autograd would record an operation on ``tensors``."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class Cached:
    """One derived value, valid until the tensors that it was computed from are written to.

    Torch counts in-place writes to a tensor (``_version``); Keras's assignments and optimizers write in place.
    """

    __slots__ = ("_entry",)

    def __init__(self) -> None:
        """Start empty."""
        self._entry: tuple[tuple, tuple, Any] | None = None

    def get(self, sources: tuple[torch.Tensor | None, ...], extra: tuple, make: Callable[[], Any]) -> Any:
        """Return ``make()``, or its last result if ``sources`` (by identity and version) and ``extra`` are the same."""
        key = (tuple(-1 if s is None else (id(s), s._version, s.data_ptr()) for s in sources), extra)
        entry = self._entry  # read once and written once, so that concurrent predictions never mix two entries
        if entry is None or entry[0] != key:
            # Keeping the sources alive prevents the reuse of their ids.
            self._entry = entry = (key, sources, make())
        return entry[2]

    def clear(self) -> None:
        """Drop the value."""
        self._entry = None
