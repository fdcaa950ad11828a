"""Colour operations on pixel values, merged so that several of them take one pass.

An operation is a pair (kind, payload):
    ("matrix", float64 (3, 4))    new RGB = M[:, :3] @ RGB + M[:, 3]
    ("contrast", factor)          scaling about the mean grey value of the image
    ("table", uint8 (256,))       a lookup table for all channels
    ("image", function)           anything else: uint8 (h, w, c) -> uint8 (h, w, c)
Consecutive matrices and contrasts become one matrix, consecutive tables one table. Values are clipped after the merged
operation, not between its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])
_IDENTITY = np.hstack([np.eye(3), np.zeros((3, 1))])

# From RGB to luma and two chroma axes in which hue is an angle (the television standard YIQ, FCC 1953), and back.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def brightness(factor: float) -> tuple[str, Any]:
    """Multiply all channels by `factor`."""
    return "matrix", np.hstack([np.eye(3) * factor, np.zeros((3, 1))])


def contrast(factor: float) -> tuple[str, Any]:
    """Scale the distance from the image's mean grey value by `factor`."""
    return "contrast", factor


def saturation(factor: float) -> tuple[str, Any]:
    """Scale the distance from each pixel's grey value by `factor`; 0 gives a grey image."""
    return "matrix", np.hstack([factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1)), np.zeros((3, 1))])


def hue(turn: float) -> tuple[str, Any]:
    """Rotate the hue by `turn` (1 is a full turn), keeping luma and chroma."""
    angle = 2 * np.pi * turn
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return "matrix", np.hstack([_RGB @ rotation @ _YIQ, np.zeros((3, 1))])


def apply_colors(image: np.ndarray, operations: Sequence[tuple[str, Any]]) -> np.ndarray:
    """Apply operations in order; uint8 (h, w, 3), (h, w, 1) or (h, w) in and out."""
    matrix: np.ndarray | None = None
    table: np.ndarray | None = None
    mean: np.ndarray | None = None
    for kind, payload in operations:
        linear = kind in ("matrix", "contrast")
        if matrix is not None and not linear:
            image, matrix, mean = _apply_matrix(image, matrix), None, None
        if table is not None and kind != "table":
            image, table, mean = cv2.LUT(image, table), None, None
        if linear:
            matrix = _IDENTITY if matrix is None else matrix
            if kind == "contrast":
                mean = _mean(image) if mean is None else mean
                grey = float(LUMA @ (matrix[:, :3] @ mean + matrix[:, 3]))
                payload = np.hstack([payload * np.eye(3), np.full((3, 1), (1 - payload) * grey)])
            matrix = payload[:, :3] @ matrix + np.hstack([np.zeros((3, 3)), payload[:, 3:]])
        elif kind == "table":
            table = payload if table is None else payload[table]
        else:
            image = payload(image)
    if matrix is not None:
        image = _apply_matrix(image, matrix)
    return image if table is None else cv2.LUT(image, table)


def _apply_matrix(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    if image.ndim == 3 and image.shape[2] == 3:
        return cv2.transform(image, matrix)
    scale, shift = float(LUMA @ matrix[:, :3].sum(axis=1)), float(LUMA @ matrix[:, 3])
    values = np.arange(256) * scale + shift
    return cv2.LUT(image, np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _mean(image: np.ndarray) -> np.ndarray:
    values = cv2.mean(image)
    return np.array(values[:3] if image.ndim == 3 and image.shape[2] == 3 else values[:1] * 3)


def posterize(bits: int) -> tuple[str, Any]:
    """Keep the highest `bits` bits."""
    return "table", np.arange(256, dtype=np.uint8) & np.uint8((0xFF << (8 - bits)) & 0xFF)


def solarize(threshold: float) -> tuple[str, Any]:
    """Invert values at and above `threshold`."""
    values = np.arange(256)
    return "table", np.where(values >= threshold, 255 - values, values).astype(np.uint8)


def autocontrast() -> tuple[str, Any]:
    """Stretch each channel to 0..255."""
    return "image", _autocontrast


def equalize() -> tuple[str, Any]:
    """Equalize each channel's histogram."""
    return "image", _per_channel(cv2.equalizeHist)


def sharpness(factor: float) -> tuple[str, Any]:
    """Blend with a smoothed copy (0 gives the copy, 1 the image, more sharpens), as Pillow's ImageEnhance does."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13

    def apply(image: np.ndarray) -> np.ndarray:
        smooth = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return cv2.addWeighted(image, factor, smooth, 1 - factor, 0)

    return "image", apply


def _autocontrast(image: np.ndarray) -> np.ndarray:
    return _per_channel(_stretch)(image)


def _stretch(channel: np.ndarray) -> np.ndarray:
    low, high = int(channel.min()), int(channel.max())
    if low >= high:
        return channel
    return cv2.LUT(channel, np.clip(np.rint((np.arange(256) - low) * (255 / (high - low))), 0, 255).astype(np.uint8))


def _per_channel(function: Any) -> Any:
    def apply(image: np.ndarray) -> np.ndarray:
        channels = 1 if image.ndim == 2 else image.shape[2]
        planes = image.reshape(*image.shape[:2], channels)
        return np.dstack([function(np.ascontiguousarray(planes[..., c])) for c in range(channels)])

    return apply
