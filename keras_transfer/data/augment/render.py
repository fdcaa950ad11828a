"""Carrying out a plan: one warp, one pass of colour, erasing."""

from __future__ import annotations

import math

import cv2
import numpy as np

from keras_transfer.data.augment.color import apply_colors
from keras_transfer.data.augment.plan import Plan

_NEAR = 1e-4


def render(image: np.ndarray, plan: Plan, grey: bool) -> np.ndarray:
    """Carry out a plan.

    Args:
        image: uint8 (h, w, 3 or 1); it may have been decoded at a lower resolution than `plan.source`.
        plan: with `plan.size` equal to the size wanted.
        grey: whether the result has one channel.

    Returns:
        uint8 (height, width, 3 or 1), contiguous, never the input itself.
    """
    if grey and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = image.shape[:2]
    matrix = plan.matrix
    if (height, width) != plan.source:
        matrix = np.diag([width / plan.source[1], height / plan.source[0], 1.0]) @ matrix
    out = _warp(image, matrix, plan)
    if not grey and (out.ndim == 2 or out.shape[2] == 1):
        out = cv2.cvtColor(out, cv2.COLOR_GRAY2RGB)
    if plan.colors:
        out = apply_colors(out, plan.colors)
    if out.ndim == 2:
        out = out[..., None]
    if not out.flags.c_contiguous or np.may_share_memory(out, image):
        out = out.copy()
    for y, x, h, w, value, seed in plan.erase:
        out[y : y + h, x : x + w] = value if value is not None else _noise(seed, h, w, out.shape[2])
    return out


def _warp(image: np.ndarray, matrix: np.ndarray, plan: Plan) -> np.ndarray:
    box = _source_box(matrix, plan.size)
    inside = _inside(box, image.shape)
    if inside and abs(matrix[0, 1]) < 1e-9 and abs(matrix[1, 0]) < 1e-9:
        whole = [round(v) for v in box]
        if all(abs(v - r) < _NEAR for v, r in zip(box, whole)):
            return _resize_box(image, whole, matrix, plan.size)
    image, matrix = _shrink(image, matrix, box)
    border = cv2.BORDER_REPLICATE if inside else cv2.BORDER_CONSTANT
    fill = 0
    if not inside:
        if plan.fill == "reflect":
            border = cv2.BORDER_REFLECT_101
        else:
            fill = plan.fill  # type: ignore[assignment]
    value = (fill,) * 4 if isinstance(fill, int) else _fill_color(fill, image)
    # OpenCV counts from pixel centres.
    affine = matrix[:2].copy()
    affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, affine, plan.size[::-1], flags=flags, borderMode=border, borderValue=value)


def _fill_color(fill: tuple[int, int, int], image: np.ndarray) -> tuple[float, ...]:
    if image.ndim == 3 and image.shape[2] == 3:
        return tuple(float(v) for v in fill)
    return (0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2],)


def _source_box(matrix: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of what the canvas covers in the source."""
    height, width = size
    corners = matrix[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    (x0, y0), (x1, y1) = corners.min(axis=1), corners.max(axis=1)
    return float(x0), float(y0), float(x1), float(y1)


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> bool:
    return box[0] > -_NEAR and box[1] > -_NEAR and box[2] < shape[1] + _NEAR and box[3] < shape[0] + _NEAR


def _resize_box(image: np.ndarray, box: list[int], matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    part = image[y0:y1, x0:x1]
    if part.shape[:2] != size:
        part = _halve(part, (x1 - x0) / size[1], (y1 - y0) / size[0])
        if part.shape[:2] != size:
            part = cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR)
    if matrix[0, 0] < 0:
        part = cv2.flip(part, 1)
    return cv2.flip(part, 0) if matrix[1, 1] < 0 else part


def _halve(part: np.ndarray, sx: float, sy: float) -> np.ndarray:
    """Average whole blocks of pixels, so that at most a factor of two is left for linear interpolation."""
    kx, ky = max(1, math.floor(sx + _NEAR)), max(1, math.floor(sy + _NEAR))
    if kx == ky == 1:
        return part
    height, width = part.shape[:2]
    if height % ky or width % kx:
        # The last block is filled up; the little stretch is less than one block.
        part = cv2.copyMakeBorder(part, 0, -height % ky, 0, -width % kx, cv2.BORDER_REPLICATE)
    return cv2.resize(part, (part.shape[1] // kx, part.shape[0] // ky), interpolation=cv2.INTER_AREA)


def _shrink(
    image: np.ndarray, matrix: np.ndarray, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of the part that is needed, where the warp would skip pixels (a scale of two and more)."""
    sx, sy = math.hypot(matrix[0, 0], matrix[0, 1]), math.hypot(matrix[1, 0], matrix[1, 1])
    kx, ky = max(1, math.floor(sx + _NEAR)), max(1, math.floor(sy + _NEAR))
    if kx == ky == 1:
        return image, matrix
    height, width = image.shape[:2]
    x0, y0 = (min(max(math.floor(v) - 2 * k, 0), n - 1) for v, k, n in ((box[0], kx, width), (box[1], ky, height)))
    x1, y1 = (max(min(math.ceil(v) + 2 * k, n), 1) for v, k, n in ((box[2], kx, width), (box[3], ky, height)))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    part = _halve(image[y0:y1, x0:x1], kx, ky)
    to_part = np.array([[1 / kx, 0, -x0 / kx], [0, 1 / ky, -y0 / ky], [0, 0, 1]])
    return part, to_part @ matrix


def _noise(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    from keras_transfer.data import rng

    return rng.generator(seed, rng.PIXELS).integers(0, 256, (height, width, channels), np.uint8)
