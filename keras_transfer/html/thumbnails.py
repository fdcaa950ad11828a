"""Small images, embedded in a page as ``data:`` URIs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from markupsafe import Markup
from PIL import Image

from keras_transfer.data.augment import Transform
from keras_transfer.data.images.store import BadImage, FileStore, ImageStore

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Split

SIDE = 128
"""Maximum length of the longer side in pixels."""
_TINY = 48  # maximum length of the longer side of images that are enlarged without smoothing


class Thumbnail(NamedTuple):
    """An image for an ``img`` element; ``tiny`` ones are to be enlarged without smoothing."""

    uri: Markup
    width: int
    height: int
    tiny: bool


def of_sample(split: Split, position: int) -> Thumbnail | None:
    """Return image `position` of a split in its own aspect ratio; None if it cannot be read."""
    return _opened(split.samples.images, int(split.indices[position]))


def of_file(path: str) -> Thumbnail | None:
    """Return the image in a file in its own aspect ratio; None if it cannot be read."""
    return _opened(FileStore([path], None), 0)


def _opened(store: ImageStore, number: int) -> Thumbnail | None:
    try:
        image = store.open(number)
        scale = min(1.0, SIDE / max(image.height, image.width))
        size = max(1, round(image.height * scale)), max(1, round(image.width * scale))
        return of_pixels(Transform(size)(image))
    except BadImage:
        return None


def of_pixels(image: np.ndarray) -> Thumbnail:
    """Return a thumbnail of a uint8 image (h, w, 1 or 3)."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1)
    tiny = max(height, width) <= _TINY
    data = encoded(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), "PNG" if tiny else "JPEG")
    return Thumbnail(data, image.shape[1], image.shape[0], tiny)


def encoded(image: Image.Image, kind: str) -> Markup:
    """Return the URI of an image encoded as ``"PNG"`` or ``"JPEG"``."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=80)  # PNG ignores the quality
    return Markup(f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}")  # noqa: S704
