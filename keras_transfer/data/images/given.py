"""Images that a program gives as arrays: one or several, without guessing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.errors import UserError

FORMS = "one image (height, width), (height, width, 1, 3 or 4), or several (n, height, width, 1, 3 or 4)"


def as_array(values: Any, what: str) -> np.ndarray:
    """Return values as an array; raises UserError for rows of different lengths and objects of other libraries."""
    try:
        array: np.ndarray = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{what}: expected an array: {error}") from None
    return array


def images_of_array(array: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Return the images in an array, and whether it is a single one.

    Args:
        array: uint8 (h, w), (h, w, 1 | 3 | 4) or (n, h, w, 1 | 3 | 4); three dimensions that end otherwise are n grey images (n, h, w).

    Raises:
        UserError: another dtype or number of dimensions, masked values, or a shape that people mean in another way: channels first, or two
            channels.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
        raise UserError("images with masked values, which would be read as they are")
    if array.dtype != np.uint8:
        hint = " (values 0..1 times 255, rounded)" if array.dtype.kind == "f" else ""
        raise UserError(f"images must be uint8 with values 0..255{hint}, received dtype {array.dtype}")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise UserError(f"images must have the shape of {FORMS}, received {array.shape}")
    if array.ndim == 4:
        if array.shape[3] not in (1, 3, 4):
            first = (
                " (channels first? np.moveaxis(images, 1, -1) puts them last)" if array.shape[1] in (1, 3, 4) else ""
            )
            raise UserError(f"images must have 1, 3 or 4 channels in the last dimension, received {array.shape}{first}")
        return list(array), False
    if array.ndim == 2 or array.shape[2] in (1, 3, 4):
        return [array], True
    if array.shape[0] in (1, 3, 4):
        raise UserError(
            f"the shape {array.shape} can be one image with its channels first, or {array.shape[0]} grey images: give np.moveaxis(image, 0, -1) "
            "for one image, images[..., None] for several"
        )
    if array.shape[2] == 2:
        raise UserError(
            f"the shape {array.shape} can be one image with two channels, or {array.shape[0]} grey images two pixels wide: give image[..., 0] for "
            "one grey image, images[..., None] for several"
        )
    return list(array), False


def paths_of(given: Any) -> tuple[list[str], bool]:
    """Return the paths in what a program gives as images, and whether it is a single file.

    Raises:
        UserError: no path and no list of paths.
    """
    if isinstance(given, (str, os.PathLike)):
        return [_path(given)], not Path(given).is_dir()
    if isinstance(given, (set, frozenset, Mapping, bytes)) or not isinstance(given, Iterable):
        raise UserError(f"expected a path, a list of paths or images as an array, got a {type(given).__name__}")
    return [_path(one) for one in given], False


def _path(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise UserError(
            f"expected paths, got a {type(value).__name__} among them: images in memory are given as one array ({FORMS})"
        )
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UserError(f"expected a path, got {text!r}")
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
