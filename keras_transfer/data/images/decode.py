"""Decode image files of any format to upright uint8 RGB.

Ordinary JPEG and PNG are decoded by OpenCV, which is fastest and releases the GIL; everything else (palettes,
transparency, CMYK, GIF, WebP, TIFF, BMP …) by Pillow. Pillow also tries what OpenCV refuses, so a file is only bad if
both fail. 16-bit channels are scaled to 8 (see `depth`), transparency is composited on white, animations give their first frame.
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_transfer.data.images import deep, heif, structure
from keras_transfer.data.images.depth import FULL, Span, to_8_bit
from keras_transfer.data.images.structure import MAX_PIXELS, PNG, DecodeError

__all__ = [
    "MAX_PIXELS",
    "PILLOW_FORMATS",
    "DecodeError",
    "Header",
    "decode",
    "on_white",
    "orient",
    "read_header",
    "to_8_bit",
]

Image.init()  # Pillow imports rare formats lazily, and requesting one by name before that is an error
PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
if structure.VARIABLE in os.environ:  # as asked for, above Pillow's own limit too
    Image.MAX_IMAGE_PIXELS = max(MAX_PIXELS, Image.MAX_IMAGE_PIXELS or 0)

_BLOCK = 1 << 20  # numbers that are computed with at once
_COLOR = getattr(cv2, "IMREAD_COLOR_RGB", None)
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


class Header(NamedTuple):
    """The header of an image. `plain`: OpenCV decodes it correctly. Sizes are before EXIF orientation."""

    kind: str  # "jpeg", "png" or "other"
    height: int
    width: int
    orientation: int
    plain: bool
    deep: bool = False  # 16 bits per channel


def read_header(data: bytes) -> Header:
    """Read format, size and EXIF orientation without decoding; the size is 0 for formats other than JPEG and PNG.

    Raises:
        DecodeError: the image has more than `MAX_PIXELS` pixels, or its structure would cost the decoder more than the
            image is worth; see `structure`.
    """
    if data[:3] == b"\xff\xd8\xff":
        jpeg = structure.read_jpeg(data)
        plain = jpeg.bits == 8 and jpeg.channels in (1, 3) and jpeg.coding in (0xC0, 0xC1, 0xC2) and jpeg.whole
        return Header("jpeg", jpeg.height, jpeg.width, _tiff_orientation(jpeg.exif), plain)
    if data[:8] == PNG:
        png = structure.read_png(data)
        plain = png.depth == 8 and png.colour in (0, 2) and png.whole and not png.chunks & {b"tRNS", b"eXIf", b"acTL"}
        return Header("png", png.height, png.width, 1, plain, deep=png.depth == 16)
    kind = heif.kind_of(data)
    if kind and not heif.can_read(kind):
        raise DecodeError(heif.way_round(kind))
    structure.check_other(data)
    return Header("other", 0, 0, 1, False)


def formats_of(data: bytes) -> tuple[str, ...]:
    """Return the readers of Pillow that may look at a file."""
    return tuple(name for name in heif.FORMATS if name in Image.OPEN) if heif.kind_of(data) else PILLOW_FORMATS


def size_of(data: bytes) -> tuple[int, int]:
    """Return the height and width that decoding gives, before orientation; (0, 0) if unreadable, which decoding reports.

    Raises:
        DecodeError: see `read_header`.
    """
    header = read_header(data)
    if header.height:
        return header.height, header.width
    try:
        with Image.open(io.BytesIO(data), formats=formats_of(data)) as opened:
            return opened.height, opened.width
    except Image.DecompressionBombError as error:
        raise DecodeError(str(error)) from None
    except Exception:  # a damaged header makes Pillow raise almost anything
        return 0, 0


_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (PNG, "png"),
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


def decode(
    data: bytes,
    reduction: int = 1,
    header: Header | None = None,
    span: Span = FULL,
    seen: list[Span] | None = None,
) -> np.ndarray:
    """Decode the bytes of a file.

    Args:
        data: the whole file.
        reduction: 1, 2, 4 or 8: decode an ordinary JPEG directly at a half, quarter or eighth of its sides (rounded
            up), which is several times faster; other formats are decoded in full.
        header: the result of `read_header`, if it is known.
        span: the values of 16-bit channels that become 0 and 255.
        seen: gets the smallest and largest value of 16-bit channels.

    Returns:
        uint8 (height, width, 3) RGB, upright according to EXIF.

    Raises:
        DecodeError: not an image, truncated, too large, or without a sensible 8-bit form.
    """
    header = header or read_header(data)
    if header.plain:
        factor = reduction if header.kind == "jpeg" else 1
        image = _opencv(data, factor)
        if image is not None:
            return orient(
                _as_announced(image, -(-header.height // factor), -(-header.width // factor)), header.orientation
            )
    try:
        if header.deep:
            image = _opencv_deep(data, span, seen)
            if image is not None:
                return orient(_as_announced(image, header.height, header.width), _exif_orientation(data))
        return _pillow(data, header, span, seen)
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


def _opencv_deep(data: bytes, span: Span, seen: list[Span] | None) -> np.ndarray | None:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.dtype != np.uint16:
        return None
    if image.ndim == 3:
        return _coloured(
            cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB), span, seen
        )
    _note(image, seen)
    grey = cv2.cvtColor(to_8_bit(image, span), cv2.COLOR_GRAY2RGB)
    clear = structure.clear_grey(data)  # OpenCV leaves this out
    if clear is not None:
        grey[image == clear] = 255
    return grey


def _coloured(image: np.ndarray, span: Span, seen: list[Span] | None) -> np.ndarray:
    """Return uint16 RGB or RGBA as uint8 RGB; transparency has its full range whatever the colours use."""
    colours = image[..., :3]
    _note(colours, seen)
    if image.shape[2] == 4:
        return on_white(np.concatenate([to_8_bit(colours, span), to_8_bit(image[..., 3:])], axis=2))
    return to_8_bit(colours, span)


def _note(values: np.ndarray, seen: list[Span] | None) -> None:
    if seen is not None and values.size:
        seen.append((int(values.min()), int(values.max())))


def _pillow(data: bytes, header: Header, span: Span, seen: list[Span] | None) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=formats_of(data)) as opened:
        height, width = opened.height, opened.width
        structure.check_size(height, width)
        if header.height and (height, width) != (header.height, header.width):
            raise _two_sizes(header.height, header.width, height, width)
        _check_strips(opened)
        colours = deep.colours(opened, data)
        opened.load()
        if colours is not None:
            return orient(_as_announced(_coloured(colours, span, seen), height, width), _orientation(opened))
        if header.kind == "jpeg":
            return orient(_as_announced(_pixels(opened, span, seen), height, width), header.orientation)
        pixels = _as_announced(_pixels(opened, span, seen), height, width)
        return orient(pixels, _orientation(opened))


def _check_strips(image: Image.Image) -> None:
    """Raise DecodeError if the strips or tiles of a TIFF cover less than its header states: the rest would be made up."""
    if image.format != "TIFF":
        return
    tiles: Any = image.tile  # type: ignore[attr-defined]
    covered = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in tiles)
    apart = image.tag_v2.get(284) == 2 and all(tile.codec_name != "libtiff" for tile in tiles)  # type: ignore[attr-defined]
    covered //= len(image.getbands()) if apart else 1
    if covered < image.height * image.width:
        raise DecodeError(f"damaged: its strips hold {covered} of {image.height}x{image.width} pixels")


def pillow_pixels(image: Image.Image, span: Span = FULL, seen: list[Span] | None = None) -> np.ndarray:
    """Return the pixels of a PIL picture: uint8 (height, width, 3) RGB, upright according to EXIF.

    Args:
        image: the picture.
        span: the values of 16-bit channels that become 0 and 255.
        seen: gets the smallest and largest value of 16-bit channels.

    Raises:
        DecodeError: more than 16 bits per channel, or too many pixels.
    """
    structure.check_size(image.height, image.width)
    return orient(_pixels(image, span, seen), _orientation(image))


def _pixels(image: Image.Image, span: Span, seen: list[Span] | None) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DecodeError("negative or 32-bit integer pixels: expected 8 or 16 bits per channel, from 0")
        if deep.white_is_zero(image):
            values = 65535 - values
        _note(values, seen)
        return cv2.cvtColor(to_8_bit(values.astype(np.uint16), span), cv2.COLOR_GRAY2RGB)
    if mode == "F":
        raise DecodeError("floating-point pixels: expected 8 or 16 bits per channel")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Composite uint8 (h, w, 4) on white: uint8 (h, w, 3), rounded to nearest."""
    made = np.empty((*rgba.shape[:-1], 3), np.uint8)
    rows = max(1, _BLOCK // max(1, rgba[0].size)) if len(rgba) else 1
    for start in range(0, len(rgba), rows):  # whole pictures would need several times their memory
        part = rgba[start : start + rows].astype(np.uint16)
        alpha = part[..., 3:]
        sums = part[..., :3] * alpha + (255 * 255 + 127 - 255 * alpha)  # at most 65,152
        made[start : start + rows] = (sums + 1 + (sums >> 8)) >> 8  # exactly sums // 255
    return made


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
            if tag == 0x0112 and kind in (3, 4):  # some programs write it as a long number
                value = value if kind == 3 else struct.unpack_from(order + "I", exif, offset + 10 + 12 * entry)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _exif_orientation(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=formats_of(data)) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """Return the orientation that the image's EXIF or XMP states, or 1; a directory that overlaps itself is not read."""
    block = image.info.get("exif")
    try:
        if isinstance(block, bytes):
            structure.check_directory(block.removeprefix(b"Exif\0\0"))
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # nonsense in metadata does not make an image bad
        return 1


def _as_announced(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image that has the size its header states.

    Raises:
        DecodeError: it has another: the check has read the file differently from the decoder.
    """
    if image.shape[:2] != (height, width):
        raise _two_sizes(height, width, *image.shape[:2])
    return image


def _two_sizes(height: int, width: int, *made: int) -> DecodeError:
    return DecodeError(f"its header says {width} x {height} pixels, but it holds {made[1]} x {made[0]}")


_UNREAD = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a picture in the format JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a picture in the format JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a picture in the format JPEG XL"),
    (b"\xff\x0a", "a picture in the format JPEG XL"),
    (b"8BPS", "a document of Photoshop"),
    (b"gimp xcf", "a document of GIMP"),
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"v/1\x01", "a picture in the format OpenEXR"),
    (b"#?RADIANCE", "a picture in the format Radiance HDR"),
    (b"FUJIFILMCCD-RAW", "a raw picture of a camera"),
    (b"IIRO", "a raw picture of a camera"),
    (b"IIU\0", "a raw picture of a camera"),
    (b"SIMPLE  =", "a picture in the format FITS"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a file compressed by gzip"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x1aE\xdf\xa3", "a film"),
)
"""How files begin that people take for pictures, and what they are."""


def _what_is_it(data: bytes) -> str:
    if not data:
        return "the file is empty"
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<svg", b"<?xml")):
        return "not an image: the file contains HTML or XML"
    if heif.kind_of(data):
        return f"a damaged picture in the format {heif.kind_of(data)}"
    for begin, kind in _UNREAD:
        if data.startswith(begin):
            return f"{kind}, which is not read: save it as JPEG or PNG"
    if data[128:132] == b"DICM":
        return "a picture in the format DICOM, which is not read: save it as PNG"
    if data[4:8] == b"ftyp":
        return "a film, which is not read: save its frames as JPEG or PNG"
    return "not an image in a known format, or damaged at the start"
