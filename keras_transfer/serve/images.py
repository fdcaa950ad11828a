"""Uploaded bytes to the model's input, and back to something that a browser shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from keras_transfer.data.augment import Transform
from keras_transfer.data.images.decode import PILLOW_FORMATS, DecodeError, read_header
from keras_transfer.data.images.store import BadImage, EncodedImage
from keras_transfer.explain.colours import heat

VIEW_SIDE = 448  # pixels of the longer side of what the page shows
_SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif", "dib": ".bmp"}


def open_upload(name: str, data: bytes, max_pixels: int) -> EncodedImage:
    """Check an uploaded file and open it.

    Args:
        name: what the sender calls it.
        data: the whole file.
        max_pixels: largest height x width that is decoded.

    Raises:
        BadImage: not an image, damaged, or with more pixels than allowed.
    """
    try:
        height, width = _size(data)
    except DecodeError as error:
        raise BadImage(name, str(error)) from None
    if height * width > max_pixels:
        raise BadImage(
            name, f"{width} x {height} pixels are more than the {max_pixels // 10**6} megapixels allowed here"
        )
    return EncodedImage(name, data)


def _size(data: bytes) -> tuple[int, int]:
    """Height and width by the header alone; (0, 0) if it says nothing, which decoding will explain."""
    header = read_header(data)
    if header.height:
        return header.height, header.width
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as opened:
            return opened.height, opened.width
    except Image.DecompressionBombError as error:
        raise DecodeError(str(error)) from None
    except Exception:  # whatever a damaged header makes Pillow raise
        return 0, 0


def suffix_of(data: bytes) -> str:
    """The file name ending for an image's format, e.g. ``.jpg``."""
    kind = read_header(data).kind
    if kind == "other":
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as opened:
            kind = (opened.format or "png").lower()
    return _SUFFIXES.get(kind, f".{kind}")


def view(image: EncodedImage, metadata: Mapping[str, Any]) -> np.ndarray:
    """What the model sees of an image, in more pixels: uint8 (h, w, 1 or 3), the longer side 448 or less."""
    height, width = metadata["image_size"]
    if metadata["resize"] == "squash":  # the whole image: it is shown in its own shape
        height, width = image.height, image.width
    scale = min(VIEW_SIDE, max(image.height, image.width)) / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Transform(size, [], metadata["resize"], metadata["color"])(image)


def image_uri(image: np.ndarray) -> str:
    """A uint8 (h, w, 1 or 3) image as a JPEG ``data:`` address."""
    return _uri(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), "JPEG", quality=88)


def heat_uri(values: np.ndarray) -> str:
    """A map (h, w) as a transparent PNG ``data:`` address, to be laid over the view."""
    return _uri(Image.fromarray(heat(values), "RGBA"), "PNG")


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
