"""Resample tables of position embeddings and biases to another grid, as PyTorch's ``interpolate`` does (``align_corners=False``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def resample(table: np.ndarray, size: tuple[int, int], kind: str = "bicubic", antialias: bool = True) -> np.ndarray:
    """Return ``table`` (height, width, channels) resampled to ``size``, float32.

    Args:
        table: of any grid.
        size: (height, width).
        kind: ``"bicubic"`` or ``"bilinear"``.
        antialias: widen the kernel where the grid becomes smaller, and use Pillow's cubic kernel.
    """
    if table.shape[:2] == tuple(size):
        return table
    rows, columns = (weights(old, new, kind, antialias) for old, new in zip(table.shape, size))
    return np.einsum("ih,jw,hwc->ijc", rows, columns, table.astype(np.float64), optimize=True).astype(np.float32)


def weights(old: int, new: int, kind: str, antialias: bool) -> np.ndarray:
    """Return the matrix (new, old) that resamples one axis, float64."""
    support, kernel = _KERNELS[kind, antialias]
    scale = old / new
    stretch = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(new) + 0.5) * scale - 0.5
    found = np.zeros((new, old))
    for row, centre in enumerate(centres):
        if antialias:
            first = max(int(centre - support * stretch + 1), 0)
            last = min(int(centre + support * stretch + 1), old)
            values = kernel((np.arange(first, last) - centre) / stretch)
            found[row, first:last] = values / values.sum()
        else:  # beyond the edge, the outermost value repeats
            taps = np.arange(int(np.floor(centre)) - support + 1, int(np.floor(centre)) + support + 1)
            np.add.at(found[row], np.clip(taps, 0, old - 1), kernel(taps - centre))
    return found


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the cubic convolution kernel (Keys 1981) of parameter ``a``."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        inner = ((a + 2) * x - (a + 3)) * x * x + 1
        outer = ((x - 5) * x + 8) * x * a - 4 * a
        return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))

    return kernel


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0.0)


_KERNELS: dict[tuple[str, bool], tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    ("bicubic", True): (2, _cubic(-0.5)),
    ("bicubic", False): (2, _cubic(-0.75)),
    ("bilinear", True): (1, _triangle),
    ("bilinear", False): (1, _triangle),
}
