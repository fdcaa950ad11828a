"""Open uploaded images, and encode images and heat maps for the browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from keras_transfer.data.augment import Transform
from keras_transfer.data.images.decode import DecodeError, formats_of, read_header, size_of
from keras_transfer.data.images.depth import parse as parse_depth
from keras_transfer.data.images.store import BadImage, EncodedImage
from keras_transfer.explain.colours import heat

VIEW_SIDE = 448  # longer side of the images on the page, in pixels
_SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif", "dib": ".bmp"}


def open_upload(name: str, data: bytes, max_pixels: int, depth: Any = None) -> EncodedImage:
    """Validate and open an uploaded file.

    Args:
        name: file name.
        data: content of the file.
        max_pixels: maximum height × width.
        depth: of the model's metadata: the values of 16-bit images that become 0 and 255.

    Raises:
        BadImage: not an image, damaged, or too many pixels.
    """
    try:
        height, width = size_of(data)
    except DecodeError as error:
        raise BadImage(name, str(error)) from None
    if height * width > max_pixels:
        raise BadImage(name, f"{width} × {height} pixels exceed the limit of {max_pixels // 10**6} megapixels")
    return EncodedImage(name, data, parse_depth(depth))


def suffix_of(data: bytes) -> str:
    """Return the file name suffix of an image's format, e.g. ``.jpg``."""
    kind = read_header(data).kind
    if kind == "other":
        with Image.open(io.BytesIO(data), formats=formats_of(data)) as opened:
            kind = (opened.format or "png").lower()
    return _SUFFIXES.get(kind, f".{kind}")


def view(image: EncodedImage, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return the model's view of an image at display resolution: uint8 (h, w, 1 or 3), longer side at most 448."""
    height, width = metadata["image_size"]
    if metadata["resize"] == "squash":  # the model sees the whole image: keep its aspect ratio
        height, width = image.height, image.width
    scale = min(VIEW_SIDE, max(image.height, image.width)) / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Transform(size, [], metadata["resize"], metadata["color"])(image)


def image_uri(image: np.ndarray) -> str:
    """Encode a uint8 (h, w, 1 or 3) image as a JPEG ``data:`` URI."""
    return _uri(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), "JPEG", quality=88)


def heat_uri(values: np.ndarray) -> str:
    """Encode a map (h, w) as a transparent PNG ``data:`` URI, to be drawn over the view."""
    return _uri(Image.fromarray(heat(values), "RGBA"), "PNG")


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
