"""Pooling in channels-last memory, without the copy to channels-first that stock Keras makes."""

from __future__ import annotations

import keras
import torch
import torch.nn.functional as F

from keras_transfer.engine.torch_native.operation import LayerOperation
from keras_transfer.engine.torch_native.tensors import Padding, is_real, nchw, nhwc, pad, resolve_padding


def _ceil_mode_covers(shape: torch.Size, window: tuple[int, int], stride: tuple[int, int], padding: Padding) -> bool:
    """Return whether torch's ``ceil_mode`` gives the windows of this one-sided padding, so that no copy is needed."""
    for size, kernel, step, (before, after) in zip(shape[2:], window, stride, padding):
        wanted = (size + before + after - kernel) // step + 1
        natural = -(-(size + 2 * before - kernel) // step) + 1
        if (natural - 1) * step >= size + before:  # torch drops a window that starts in the padding
            natural -= 1
        if natural != wanted or before > kernel // 2:
            return False
    return True


def max_pool(x: torch.Tensor, window: tuple[int, int], stride: tuple[int, int], padding: Padding) -> torch.Tensor:
    """Max-pool an NCHW tensor; padding never is the maximum."""
    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        return F.max_pool2d(x, window, stride, (top, left))
    if _ceil_mode_covers(x.shape, window, stride, padding):
        return F.max_pool2d(x, window, stride, (top, left), ceil_mode=True)
    return F.max_pool2d(pad(x, padding, float("-inf")), window, stride)


class Pooling2D(LayerOperation):
    """``keras.layers.MaxPooling2D`` and ``keras.layers.AveragePooling2D``."""

    def __init__(self, layer: keras.layers.Layer):
        """Read the geometry of ``layer``."""
        super().__init__(layer)
        self.window = tuple(layer.pool_size)
        self.stride = tuple(layer.strides)
        self.max = layer.pool_mode == "max"

    @classmethod
    def refuses(cls, layer: keras.layers.Layer) -> str | None:
        """Return why ``layer`` must stay stock, or ``None``."""
        return None if layer.data_format == "channels_last" else "channels_first"

    def padding(self, shape: torch.Size) -> Padding:
        """Return the padding in pixels for an NCHW input."""
        return resolve_padding(self.layer.padding, shape, self.window, self.stride)

    def accepts(self, x: object, *args: object, **kwargs: object) -> bool:
        """Accept real floating tensors, except for averages with one-sided padding.

        Those, stock Keras on torch pads by repeating the edge and counts the padding (TensorFlow excludes it): they run
        stock, so that the engine never changes a result.
        """
        if args or kwargs or not is_real(x) or not x.is_floating_point():  # type: ignore[attr-defined]
            return False
        if self.max:
            return True
        shape = x.shape  # type: ignore[attr-defined]
        padding = self.padding(torch.Size((shape[0], shape[3], shape[1], shape[2])))
        return all(before == after for before, after in padding)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer, NHWC to NHWC."""
        x = nchw(x)
        padding = self.padding(x.shape)
        if self.max:
            return nhwc(max_pool(x, self.window, self.stride, padding))
        (top, _), (left, _) = padding
        return nhwc(F.avg_pool2d(x, self.window, self.stride, (top, left), count_include_pad=False))
