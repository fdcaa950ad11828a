"""Read the structure of image files without decoding them: sizes, and how much work the decoder will have.

A check is worth nothing if it reads a file differently from the decoder. The JPEG reader here therefore follows libjpeg's
marker by marker (``jdmarker.c``: which markers have a length, what is skipped between them, what ends it), and where libjpeg
would stop with an error, the file is refused. What the decoder makes is compared with the size found here afterwards.
"""

from __future__ import annotations

import os
import re
import struct
from typing import NamedTuple

from keras_transfer.errors import UserError

VARIABLE = "KERAS_TRANSFER_MAX_PIXELS"
"""Environment variable with the height × width of the largest image to decode."""


def _limit() -> int:
    given = os.environ.get(VARIABLE, "")
    if given and not (given.isascii() and given.isdecimal() and 0 < int(given[:18]) <= 1 << 31):
        raise UserError(f"{VARIABLE}: expected a number of pixels from 1 to {1 << 31}, got {given!r}")
    return int(given) if given else 89_478_485


MAX_PIXELS = _limit()
"""Largest image to decode; by default 256 MiB of RGB, the size at which Pillow warns of a decompression bomb."""
MAX_SCANS = 100
"""Scans of a progressive JPEG. Encoders write about ten; each of them costs a pass over the whole image."""
MAX_SCANNED = 12 * MAX_PIXELS
"""Pixels times scans."""
MAX_SEGMENTS = 4096
"""Segments before the first scan of a JPEG: profiles of a few megabytes need some tens."""
MAX_CHUNKS = 1 << 20
"""Chunks of a PNG: at the usual 8 KiB, as many as fit in the largest file by far."""
MAX_RLE_WIDTH = 1 << 16
"""Width of a run-length encoded BMP: a code of two bytes can stand for many rows."""

PNG = b"\x89PNG\r\n\x1a\n"

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts of a PNG that may say how it is turned

_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_NEXT_IN_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_ALONE = frozenset([0x01, *range(0xD0, 0xD8)])  # TEM and RSTn have no length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITH_LENGTH = frozenset([0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE])


class DecodeError(Exception):
    """The bytes are not a usable image; the message is the reason."""


class Jpeg(NamedTuple):
    """The frame header of a JPEG. ``whole``: there is an end-of-image marker behind it."""

    bits: int
    height: int
    width: int
    channels: int
    coding: int  # the marker: 0xC0 baseline, 0xC1 extended, 0xC2 progressive …
    exif: bytes  # the first EXIF block
    whole: bool


class Png(NamedTuple):
    """The header of a PNG, and the names of its chunks. ``whole``: the last chunk ends it.

    A text that may say how the image is turned counts as the chunk eXIf.
    """

    height: int
    width: int
    depth: int
    colour: int
    chunks: frozenset[bytes]
    whole: bool


def check_size(height: int, width: int) -> None:
    """Raise DecodeError for more than ``MAX_PIXELS`` pixels, or none."""
    if height < 1 or width < 1:
        raise DecodeError(f"{width} x {height} pixels: its size is missing")
    if height * width > MAX_PIXELS:
        raise DecodeError(
            f"{width} x {height} pixels: more than the limit of {MAX_PIXELS} (a decompression bomb? else set {VARIABLE})"
        )


def read_jpeg(data: bytes) -> Jpeg:
    """Read the markers of a JPEG up to its frame header, and count its scans.

    Raises:
        DecodeError: there is no frame header, or two; a marker that libjpeg does not know; too many pixels, scans or
            segments.
    """
    frame: tuple[int, int] | None = None
    exif, position = b"", 2
    for _ in range(MAX_SEGMENTS):
        found = _NEXT_MARKER.search(data, position)  # libjpeg, too, skips anything between segments
        if found is None:
            break
        marker, position = found[1][0], found.end()
        if marker in _ALONE:
            continue
        if marker in (0xD9, 0xDA):  # end of image, start of scan
            break
        if marker not in _FRAMES and marker not in _WITH_LENGTH:
            raise DecodeError(f"damaged: unexpected marker FF{marker:02X}")
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):
            break
        if marker in _FRAMES:
            if frame is not None or length < 8:
                raise DecodeError("damaged: more than one frame header, or a short one")
            frame = (marker, position + 2)
        elif marker == 0xE1 and not exif and data[position + 2 : position + 8] == b"Exif\0\0":
            exif = data[position + 8 : position + length]
        position += length
    else:
        raise DecodeError(f"more than {MAX_SEGMENTS} segments before the image")
    if frame is None:
        raise DecodeError("not an image in a known format, or damaged at the start")
    bits, height, width, channels = struct.unpack_from(">BHHB", data, frame[1])
    check_size(height, width)
    _check_scans(data, frame[1], height * width)
    # A truncated file has no end-of-image marker; Pillow then decides whether pixels are missing.
    return Jpeg(bits, height, width, channels, frame[0], exif, data.rfind(b"\xff\xd9") > frame[1])


def _check_scans(data: bytes, position: int, pixels: int) -> None:
    allowed = min(MAX_SCANS, max(1, MAX_SCANNED // pixels))
    # Marker bytes in thumbnails are counted as well, so only a large number has to be looked at.
    if data.count(b"\xff\xda", position) <= allowed:
        return
    scans = 0
    while (found := _NEXT_IN_SCAN.search(data, position)) is not None and found[1] != b"\xd9":
        position = found.end()
        if found[1] == b"\xda":
            scans += 1
        if scans > allowed:
            raise DecodeError(f"more than {allowed} scans of {pixels} pixels (it would take very long to decode)")
        if found[1][0] in _WITH_LENGTH or found[1] == b"\xda":
            position += max(2, int.from_bytes(data[position : position + 2], "big"))


def read_png(data: bytes) -> Png:
    """Read the header and the chunk names of a PNG.

    Raises:
        DecodeError: it does not begin with a header, has two, too many pixels or chunks.
    """
    if data[8:16] != b"\0\0\0\x0dIHDR" or len(data) < 33:
        raise DecodeError("not an image in a known format, or damaged at the start")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    check_size(height, width)
    names: set[bytes] = set()
    position, last = 33, b""
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(data) or last == b"IEND":
            break
        last = data[position + 4 : position + 8]
        if last == b"IHDR":
            raise DecodeError("damaged: more than one header")
        names.add(last)
        if last in _TEXTS and data[position + 8 : position + 40].startswith(_ORIENTED):
            names.add(b"eXIf")
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    else:
        raise DecodeError(f"more than {MAX_CHUNKS} chunks")
    return Png(height, width, depth, colour, frozenset(names), last == b"IEND" and position <= len(data))


def clear_grey(data: bytes) -> int | None:
    """Return the grey of a PNG without alpha that is transparent, if there is one."""
    position = 33
    while data[25] == 0 and position + 12 <= len(data) and data[position + 4 : position + 8] != b"IDAT":
        if data[position + 4 : position + 8] == b"tRNS":
            return int.from_bytes(data[position + 8 : position + 10], "big")
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return None


def check_other(data: bytes) -> None:
    """Check what Pillow's readers of other formats would take for granted.

    Raises:
        DecodeError: a WebP canvas or frame with too many pixels (its decoder allocates it on opening); a TIFF with
            overlapping tags or huge tiles; a run-length encoded BMP wider than 65,536 pixels.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        for height, width in _webp_sizes(data):
            check_size(height, width)
    elif data[:2] in (b"II", b"MM"):
        check_directory(data)
    elif data[:2] == b"BM" and len(data) >= 34:
        header, width, _, _, _, compression = struct.unpack_from("<IiiHHI", data, 14)
        if header >= 40 and compression in (1, 2) and not 0 < width <= MAX_RLE_WIDTH:
            raise DecodeError(f"run-length encoded rows of {width} pixels: more than {MAX_RLE_WIDTH}")


def _webp_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return (height, width) of the canvas and of every frame."""
    sizes: list[tuple[int, int]] = []
    position = 12
    while position + 18 <= len(data) and len(sizes) < MAX_CHUNKS:
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 24]
        if name == b"VP8X":
            sizes.append((int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1))
        elif name == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            sizes.append((height & 0x3FFF, width & 0x3FFF))
        elif name == b"VP8L":
            packed = int.from_bytes(body[1:5], "little")
            sizes.append(((packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1))
        elif name == b"ANMF":
            sizes.append((int.from_bytes(body[9:12], "little") + 1, int.from_bytes(body[6:9], "little") + 1))
        position += 8 + length + length % 2
    return sizes


_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TILE_SIDES = (322, 323)


def check_directory(data: bytes) -> None:
    """Check the first directory of a TIFF file or an EXIF block.

    Its reader copies what each tag points to: many tags may point to the same bytes, and the copies exceed any memory.

    Raises:
        DecodeError: the tags point to more than twice the bytes that there are; tiles of too many pixels.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"\x2b\0", b"\0\x2b")
    entry, width = (order + "HHQQ", 8) if big else (order + "HHII", 4)
    try:
        (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    except (struct.error, OverflowError):  # BigTIFF has offsets of 64 bits, more than Python's own
        return  # damaged, which the reader will say
    start, size = offset + (8 if big else 2), struct.calcsize(entry)
    pointed, tile = 0, 1
    for place in range(start, min(start + count * size, len(data) - size + 1), size):
        tag, kind, values, value = struct.unpack_from(entry, data, place)
        held = values * _TYPE_BYTES.get(kind, 0)
        if held > width:
            pointed += held
        elif tag in _TILE_SIDES:
            tile *= value & 0xFFFF if kind == 3 and order == "<" else value >> 8 * (width - 2) if kind == 3 else value
        if pointed > 2 * len(data):
            raise DecodeError("its tags claim more than the file holds")
    if tile > MAX_PIXELS:
        raise DecodeError(f"tiles of {tile} pixels: more than the limit of {MAX_PIXELS}")
