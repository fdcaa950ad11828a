"""oneDNN convolutions: weights reordered once, activation and residual inside the kernel; and where oneDNN is slow.

torch's compiler calls the same kernels on the CPU; here they are called directly. They do not support autograd.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from keras_transfer.engine.torch_native.activation import Activation
from keras_transfer.engine.torch_native.tensors import Padding, pad


@lru_cache(maxsize=1)
def _bfloat16_supported() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def better_in_float32(x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], groups: int) -> tuple[bool, bool]:
    """Return whether the gradients of (input, weight) run faster in float32 than in bfloat16.

    oneDNN 3 has no bfloat16 kernels for some gradients of grouped convolutions and falls back to reference code, 3 to 25
    times slower: the input gradient of a strided window, the weight gradient of a window larger than 3 × 3.
    """
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or groups == 1:
        return False, False
    window = max(weight.shape[2:])
    return max(stride) > 1 and window > 1, window > 3


def better_as_product(x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], groups: int) -> bool:
    """Return whether the weight gradient of a 1x1 convolution runs faster as one matrix product.

    In bfloat16, oneDNN's convolution is up to 2.4 times slower for many channels and few positions to sum over.
    """
    pointwise = tuple(weight.shape[2:]) == (1, 1) and groups == 1 and max(stride) == 1
    if not pointwise or x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return False
    return weight.numel() > 64 * x.numel() // x.shape[1]


def better_with_rows_skipped(x: torch.Tensor, weight: torch.Tensor, padding: Padding, groups: int) -> bool:
    """Return whether a strided convolution trains faster with stride 1 on every n-th row and column: a 1x1 one on a CPU."""
    pointwise = tuple(weight.shape[2:]) == (1, 1) and groups == 1 and padding == ((0, 0), (0, 0))
    return pointwise and x.device.type == "cpu"


def covers_image(x: torch.Tensor, weight: torch.Tensor, padding: Padding, groups: int) -> bool:
    """Return whether a convolution has a single position: its window covers the image.

    oneDNN's input gradient is then up to a hundred times slower in bfloat16 than that of a matrix product.
    """
    return groups == 1 and x.shape[2:] == weight.shape[2:] and padding == ((0, 0), (0, 0))


def available(x: torch.Tensor) -> bool:
    """Return whether oneDNN can convolve ``x`` now; never while the model is compiled or traced for another engine."""
    if x.device.type != "cpu" or not (torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and _bfloat16_supported())


def can_add(x: torch.Tensor, groups: int) -> bool:
    """Return whether a residual can be added inside the convolution.

    Grouped convolutions do not support it. With a residual the kernel takes the bias in the dtype of ``x`` only, and a bias
    rounded to bfloat16 would shift whole channels, where stock Keras rounds each value separately.
    """
    return groups == 1 and x.dtype == torch.float32


def pack(
    weight: torch.Tensor,
    padding: Padding,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    shape: torch.Size,
) -> torch.Tensor:
    """Reorder an OIHW weight into oneDNN's blocked layout for an NCHW input of that shape."""
    (top, bottom), (left, right) = padding
    amount, size = [top, left], list(shape)
    if top != bottom or left != right:  # convolve() pads first
        amount, size = [0, 0], [shape[0], shape[1], shape[2] + top + bottom, shape[3] + left + right]
    return torch.ops.mkldnn._reorder_convolution_weight(weight, amount, list(stride), list(dilation), groups, size)


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    groups: int,
    activation: Activation,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ``activation(convolution(x) + residual)`` for an NCHW tensor and a packed weight."""
    (top, bottom), (left, right) = padding
    if top != bottom or left != right:
        x, top, left = pad(x, padding), 0, 0
    geometry = ([top, left], list(stride), list(dilation), groups)
    scalars, algorithm = list(activation.scalars), activation.algorithm or ""
    if residual is None:
        pointwise = torch.ops.mkldnn._convolution_pointwise.default
        return pointwise(x, weight, bias, *geometry, activation.pointwise, scalars, algorithm)
    unary = None if activation.pointwise == "none" else activation.pointwise
    binary = torch.ops.mkldnn._convolution_pointwise.binary
    return binary(x, residual, weight, bias, *geometry, "add", 1.0, unary, scalars, algorithm)
