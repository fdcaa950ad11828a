"""Rendering of a plan: one warp, one pass over the colours, erasing."""

from __future__ import annotations

import math

import cv2
import numpy as np

from keras_transfer.data.augment.color import apply_colors
from keras_transfer.data.augment.plan import Plan

_NEAR = 1e-4


def render(
    image: np.ndarray, plan: Plan, grey: bool, to_image: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Render a plan.

    Args:
        image: uint8 (h, w, 3 or 1).
        plan: the plan; `plan.size` is the size of the result.
        grey: whether the result has one channel.
        to_image: float64 (3, 3), from coordinates in an image of size `plan.source` to coordinates in `image`, if that
            was decoded at a lower resolution.
        out: uint8 (height, width, 3 or 1), contiguous: array to write the result to, e.g. a slice of a batch.

    Returns:
        uint8 (height, width, 3 or 1), contiguous, never the input itself; `out` if it was given.
    """
    if grey and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if out is None:
        out = np.empty((*plan.size, 1 if grey else 3), np.uint8)
    # OpenCV writes to `out` directly, and allocates an array of its own if the channels differ.
    drawn = _warp(image, plan.matrix if to_image is None else to_image @ plan.matrix, plan, out)
    if not grey and (drawn.ndim == 2 or drawn.shape[2] == 1):
        drawn = cv2.cvtColor(drawn, cv2.COLOR_GRAY2RGB)
    if plan.colors:
        drawn = apply_colors(drawn, plan.colors)
    if drawn is not out:
        out[...] = drawn.reshape(out.shape)
    for y, x, h, w, value, seed in plan.erase:
        out[y : y + h, x : x + w] = value if value is not None else _noise(seed, h, w, out.shape[2])
    return out


def _warp(image: np.ndarray, matrix: np.ndarray, plan: Plan, out: np.ndarray) -> np.ndarray:
    box = _source_box(matrix, plan.size)
    inside = _inside(box, image.shape)
    if inside and abs(matrix[0, 1]) < 1e-9 and abs(matrix[1, 0]) < 1e-9:
        whole = [round(v) for v in box]
        if all(abs(v - r) < _NEAR for v, r in zip(box, whole)):
            resized = _resize_box(image, whole, matrix, plan.size, out)
            if resized is not None:
                return resized
    border, fill = _border(image, plan, inside)
    image, matrix = _shrink(image, matrix, box, border, fill)
    # OpenCV's coordinates are those of pixel centres.
    affine = matrix[:2].copy()
    affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, affine, plan.size[::-1], dst=out, flags=flags, borderMode=border, borderValue=fill)


def _border(image: np.ndarray, plan: Plan, inside: bool) -> tuple[int, tuple[float, ...]]:
    """Return OpenCV's border mode and value for points outside the image."""
    if inside:
        return cv2.BORDER_REPLICATE, (0.0,)
    if plan.fill == "reflect":
        return cv2.BORDER_REFLECT_101, (0.0,)
    value = (plan.fill,) * 3 if isinstance(plan.fill, int) else tuple(plan.fill)
    return cv2.BORDER_CONSTANT, _fill_color(value, image)  # type: ignore[arg-type]


def _fill_color(fill: tuple[int, int, int], image: np.ndarray) -> tuple[float, ...]:
    if image.ndim == 3 and image.shape[2] == 3:
        return tuple(float(v) for v in fill)
    return (0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2],)


def _source_box(matrix: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the bounding box (x0, y0, x1, y1) of the canvas in the source."""
    height, width = size
    corners = matrix[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    (x0, y0), (x1, y1) = corners.min(axis=1), corners.max(axis=1)
    return float(x0), float(y0), float(x1), float(y1)


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> bool:
    return box[0] > -_NEAR and box[1] > -_NEAR and box[2] < shape[1] + _NEAR and box[3] < shape[0] + _NEAR


def _resize_box(
    image: np.ndarray, box: list[int], matrix: np.ndarray, size: tuple[int, int], out: np.ndarray
) -> np.ndarray | None:
    """Crop a box of whole pixels and scale it, into `out` if possible; return None if blocks do not fill it."""
    x0, y0, x1, y1 = box
    part = image[y0:y1, x0:x1]
    flipped = matrix[0, 0] < 0 or matrix[1, 1] < 0
    if part.shape[:2] != size:
        kx, ky = _blocks((x1 - x0) / size[1]), _blocks((y1 - y0) / size[0])
        if (y1 - y0) % ky or (x1 - x0) % kx:
            return None
        part = _average(part, kx, ky)
        if part.shape[:2] != size:
            part = cv2.resize(part, size[::-1], dst=None if flipped else out, interpolation=cv2.INTER_LINEAR)
    if flipped:
        return cv2.flip(part, _flip_code(matrix), dst=out)
    return part


def _flip_code(matrix: np.ndarray) -> int:
    """Return OpenCV's code for a horizontal (1), vertical (0) or double (-1) flip."""
    return -1 if matrix[0, 0] < 0 and matrix[1, 1] < 0 else int(matrix[0, 0] < 0)


def _blocks(scale: float) -> int:
    """Return how many pixels to average so that linear interpolation is left with a factor below two."""
    return max(1, math.floor(scale + _NEAR))


def _average(part: np.ndarray, kx: int, ky: int) -> np.ndarray:
    if kx == ky == 1:
        return part
    return cv2.resize(part, (part.shape[1] // kx, part.shape[0] // ky), interpolation=cv2.INTER_AREA)


def _shrink(
    image: np.ndarray,
    matrix: np.ndarray,
    box: tuple[float, float, float, float],
    border: int,
    fill: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of the needed part where the warp would skip pixels (at scales of two and more)."""
    kx, ky = _blocks(math.hypot(matrix[0, 0], matrix[0, 1])), _blocks(math.hypot(matrix[1, 0], matrix[1, 1]))
    if kx == ky == 1:
        return image, matrix
    height, width = image.shape[:2]
    x0, y0 = (min(max(math.floor(v) - 2 * k, 0), n - 1) for v, k, n in ((box[0], kx, width), (box[1], ky, height)))
    x1, y1 = (min(math.ceil(v) + 2 * k, n) for v, k, n in ((box[2], kx, width), (box[3], ky, height)))
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    down, right = -part.shape[0] % ky, -part.shape[1] % kx
    if down or right:  # a block over the edge is filled like the outside
        if border == cv2.BORDER_REFLECT_101:
            border = cv2.BORDER_REPLICATE
        part = cv2.copyMakeBorder(part, 0, down, 0, right, border, value=fill)
    to_part = np.array([[1 / kx, 0, -x0 / kx], [0, 1 / ky, -y0 / ky], [0, 0, 1]])
    return _average(part, kx, ky), to_part @ matrix


def _noise(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    from keras_transfer.data import rng

    return rng.generator(seed, rng.PIXELS).integers(0, 256, (height, width, channels), np.uint8)
