"""Images that a program gives as arrays: one or several, without guessing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from keras_transfer.errors import UserError

CHANNELS = (1, 3, 4)


def as_array(values: Any, what: str) -> np.ndarray:
    """Return values as an array; raises UserError for rows of different lengths and objects of other libraries."""
    try:
        array: np.ndarray = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{what}: expected an array: {error}") from None
    return array


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse an array of three dimensions, without channels at its end, that people mean in more than one way.

    Raises:
        UserError: it may have its channels first, or another number of them.
    """
    if len(shape) != 3 or shape[2] in CHANNELS:
        return
    if shape[0] in CHANNELS:
        raise UserError(
            f"the shape {shape} can be one image with its channels first, or {shape[0]} grey images: give np.moveaxis(image, 0, -1) "
            "for one image, images[..., None] for several"
        )
    if shape[2] < 8:  # the narrowest images that are in use: handwritten digits
        channels = "two" if shape[2] == 2 else str(shape[2])
        raise UserError(
            f"the shape {shape} can be one image with {channels} channels, or {shape[0]} grey images {channels} pixels wide: give "
            "image[..., 0] for one grey image, images[..., None] for several"
        )


def path_text(value: object) -> str:
    """Return a path as text.

    Raises:
        UserError: no path, or one that no file can have.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UserError(f"expected a path, got {text!r}"[:200])
    return text


def checked_golden(images: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return images to verify a model with: uint8 (n, height, width, channels) for inputs of `shape`, at least one.

    Raises:
        UserError: another dtype or shape, or none.
    """
    array = as_array(images, "golden")
    fits = array.ndim == 4 and all(want in (None, got) for want, got in zip(shape, array.shape[1:]))
    if array.dtype != np.uint8 or not fits or not array.size:
        expected = ", ".join(str(side or "any") for side in shape)
        raise UserError(f"golden: expected uint8 images (n, {expected}), got {array.dtype} {array.shape}")
    return array
