"""Decode image files of any format to upright uint8 RGB.

Ordinary JPEG and PNG are decoded by OpenCV, which is fastest and releases the GIL; everything else (palettes,
transparency, CMYK, GIF, WebP, TIFF, BMP …) by Pillow. Pillow also tries what OpenCV refuses, so a file is only bad if
both fail. 16-bit channels are scaled to 8, transparency is composited on white, animations give their first frame.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485
"""Largest image to decode (256 MiB of RGB): the size at which Pillow warns of a decompression bomb."""

Image.init()  # Pillow imports rare formats lazily, and requesting one by name before that is an error
PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")

_COLOR = getattr(cv2, "IMREAD_COLOR_RGB", None)
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_PNG = b"\x89PNG\r\n\x1a\n"


class DecodeError(Exception):
    """The bytes are not a usable image; the message is the reason."""


class Header(NamedTuple):
    """The header of an image. `plain`: OpenCV decodes it correctly. Sizes are before EXIF orientation."""

    kind: str  # "jpeg", "png" or "other"
    height: int
    width: int
    orientation: int
    plain: bool
    deep: bool = False  # 16 bits per channel


def read_header(data: bytes) -> Header:
    """Read format, size and EXIF orientation without decoding.

    Raises:
        DecodeError: the image has more than `MAX_PIXELS` pixels.
    """
    header = Header("other", 0, 0, 1, False)
    if data[:3] == b"\xff\xd8\xff":
        header = _jpeg_header(data) or header
    elif data[:8] == _PNG and len(data) >= 33:
        height, width = struct.unpack(">II", data[16:24])[::-1]
        # A false match of a chunk name in the pixel data only costs speed.
        plain = data[24] == 8 and data[25] in (0, 2) and b"tRNS" not in data and b"eXIf" not in data
        header = Header("png", height, width, 1, plain and b"IEND" in data[-64:], deep=data[24] == 16)
    _check_size(header.height, header.width)
    return header


_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (_PNG, "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"P5", "ppm"),
    (b"P6", "ppm"),
    (b"P2", "ppm"),
    (b"P3", "ppm"),
)


def format_of(data: bytes) -> str:
    """Return the format according to the first bytes: jpeg, png, gif, bmp, tiff, ppm, webp, or an empty string."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def decode(data: bytes, reduction: int = 1, header: Header | None = None) -> np.ndarray:
    """Decode the bytes of a file.

    Args:
        data: the whole file.
        reduction: 1, 2, 4 or 8: decode an ordinary JPEG directly at a half, quarter or eighth of its sides (rounded
            up), which is several times faster; other formats are decoded in full.
        header: the result of `read_header`, if it is known.

    Returns:
        uint8 (height, width, 3) RGB, upright according to EXIF.

    Raises:
        DecodeError: not an image, truncated, too large, or without a sensible 8-bit form.
    """
    header = header or read_header(data)
    if header.plain:
        image = _opencv(data, reduction if header.kind == "jpeg" else 1)
        if image is not None:
            return orient(image, header.orientation)
    try:
        if header.deep:
            image = _opencv_deep(data)
            if image is not None:
                return orient(image, _exif_orientation(data))
        return _pillow(data, header)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(_what_is_it(data)) from None
    except (Exception, Image.DecompressionBombWarning) as error:
        raise DecodeError(str(error) or type(error).__name__) from None


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright: `orientation` 1..8 as in EXIF tag 0x0112; other values are ignored."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if flip is None else cv2.flip(image, flip)


def _opencv(data: bytes, reduction: int) -> np.ndarray | None:
    buffer = np.frombuffer(data, np.uint8)
    if reduction == 1 and _COLOR is not None:
        return cv2.imdecode(buffer, _COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    flags = _REDUCED[reduction] if reduction > 1 else cv2.IMREAD_COLOR
    image = cv2.imdecode(buffer, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _opencv_deep(data: bytes) -> np.ndarray | None:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.dtype != np.uint16:
        return None
    image = to_8_bit(image)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        return on_white(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _pillow(data: bytes, header: Header) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as opened:
        _check_size(opened.height, opened.width)
        opened.load()
        if header.kind == "jpeg":
            return orient(_pixels(opened), header.orientation)
        return pillow_pixels(opened)


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """Return the pixels of a PIL picture: uint8 (height, width, 3) RGB, upright according to EXIF.

    Raises:
        DecodeError: more than 16 bits per channel, or too many pixels.
    """
    _check_size(image.height, image.width)
    return _pixels(ImageOps.exif_transpose(image))


def _pixels(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DecodeError("32-bit integer pixels: expected 8 or 16 bits per channel")
        return cv2.cvtColor(to_8_bit(values.astype(np.uint16)), cv2.COLOR_GRAY2RGB)
    if mode == "F":
        raise DecodeError("floating-point pixels: expected 8 or 16 bits per channel")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale uint16 0..65535 to uint8 0..255, rounded to nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Composite uint8 (h, w, 4) on white: uint8 (h, w, 3), rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint32)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _jpeg_header(data: bytes) -> Header | None:
    position, orientation, end = 2, 1, len(data) - 9
    while position < end:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _tiff_orientation(data[position + 10 : position + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack(">BHHB", data[position + 4 : position + 10])
            # A truncated file has no end-of-image marker; Pillow then decides whether pixels are missing.
            whole = data.rfind(b"\xff\xd9") > position
            plain = bits == 8 and channels in (1, 3) and height > 0 and width > 0 and whole
            return Header("jpeg", height, width, orientation, plain)
        position += 2 + length
    return None


def _tiff_orientation(exif: bytes) -> int:
    """Return the value of tag 0x0112 in the first directory of an EXIF block, or 1."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        (offset,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, offset)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, offset + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _exif_orientation(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
        return int(image.getexif().get(0x0112, 1))


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise DecodeError(f"{width} x {height} pixels: more than the limit of {MAX_PIXELS} (a decompression bomb?)")


def _what_is_it(data: bytes) -> str:
    if not data:
        return "the file is empty"
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<svg", b"<?xml")):
        return "not an image: the file contains HTML or XML"
    return "not an image in a known format, or damaged at the start"
