"""Pictures of 16 bits per channel that Pillow reads as 8, in another order, or not in full; and where a PNG says how it is turned."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_transfer.data.images.decode import DecodeError, decode
from tests.data.conftest import smooth

EIGHT = smooth()[:24]
HEIGHT, WIDTH = EIGHT.shape[:2]
VALUES = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
ROUNDED = ((VALUES.astype(int) * 255 + 32767) // 65535).astype(np.uint8)


def tiff(values, photometric=2, orientation=1, apart=False, order="<", packed=False, extra=None):
    """Return a TIFF of uint16 (h, w, c)."""
    channels = values.shape[2]
    planes = [values[..., k] for k in range(channels)] if apart else [values]
    bodies = [plane.astype(order + "u2").tobytes() for plane in planes]
    bodies = [zlib.compress(body) for body in bodies] if packed else bodies
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [16] * channels, 259: [8 if packed else 1], 262: [photometric]}
    tags |= {273: [0] * len(bodies), 274: [orientation], 277: [channels], 278: [HEIGHT]}
    tags |= {279: [len(body) for body in bodies], 284: [2 if apart else 1]}
    tags |= {} if extra is None else {338: [extra]}
    place = 8 + 2 + 12 * len(tags) + 4 + sum(4 * len(found) for found in tags.values() if len(found) > 1)
    tags[273] = [place + sum(map(len, bodies[:k])) for k in range(len(bodies))]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    beside, start = b"", 8 + 2 + 12 * len(tags) + 4
    for tag, found in sorted(tags.items()):
        content = struct.pack(order + "I" * len(found), *found)
        held = content if len(found) == 1 else struct.pack(order + "I", start + len(beside))
        beside += content if len(found) > 1 else b""
        head += struct.pack(order + "HHI", tag, 4, len(found)) + held
    return head + bytes(4) + beside + b"".join(bodies)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_colours_of_a_tiff(order, apart, packed):
    got = decode(tiff(VALUES, order=order, apart=apart, packed=packed))
    # Of planes that are packed one by one, Pillow gives the high bytes only.
    assert np.abs(got.astype(int) - ROUNDED).max() <= (1 if apart and packed else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff(orientation):
    image = Image.fromarray(ROUNDED)
    image.getexif()[274] = orientation
    assert np.array_equal(decode(tiff(VALUES, orientation=orientation)), np.asarray(ImageOps.exif_transpose(image)))


def test_the_range_of_12_bits_is_seen():
    seen: list[tuple[int, int]] = []
    want = ((VALUES >> 4).astype(int) * 255 + 2047) // 4095
    assert np.array_equal(decode(tiff(VALUES >> 4), span=(0, 4095), seen=seen), want)
    decode(b"P6\n%d %d\n65535\n" % (WIDTH, HEIGHT) + (VALUES >> 4).astype(">u2").tobytes(), seen=seen)
    assert seen == [(0, 4095), (0, 4095)]
    whole = b"P6\n%d %d\n4095\n" % (WIDTH, HEIGHT) + (VALUES >> 4).astype(">u2").tobytes()
    assert np.abs(decode(whole).astype(int) - ROUNDED).max() <= 1
    with pytest.raises(DecodeError):
        decode(whole[:-1])


def test_high_bytes_alone_are_not_enough():
    with pytest.raises(DecodeError, match="save it as PNG"):
        decode(tiff(VALUES >> 4, apart=True, packed=True))


def test_greys_that_begin_with_white():
    assert np.array_equal(decode(tiff(65535 - VALUES[..., :1], photometric=0)), np.repeat(ROUNDED[..., :1], 3, 2))


@pytest.mark.parametrize("extra", [0, 2])
def test_a_fourth_channel_of_a_tiff(extra):
    four = np.concatenate([VALUES, np.zeros_like(VALUES[..., :1])], axis=2)
    assert np.array_equal(decode(tiff(four, extra=extra)), ROUNDED if extra == 0 else np.full_like(ROUNDED, 255))


def test_strips_of_one_channel_do_not_stand_for_all():
    data = tiff(VALUES, apart=True)
    for tag in (273, 279):
        at = data.index(struct.pack("<HHI", tag, 4, 3))
        data = data[: at + 4] + struct.pack("<I", 1) + data[at + 8 :]
    with pytest.raises(DecodeError):
        decode(data)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(values, depth, colour, *more):
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_a_transparent_grey_of_16_bits():
    grey = VALUES[..., 0]
    want = np.where((grey == grey[3, 5])[..., None], 255, ROUNDED[..., :1].repeat(3, 2))
    assert np.array_equal(decode(png(grey, 16, 0, (b"tRNS", struct.pack(">H", grey[3, 5])))), want)


@pytest.mark.parametrize("kind", ["profile", "xmp"])
@pytest.mark.parametrize(("depth", "colour"), [(8, 2), (8, 0), (16, 2)])
def test_texts_of_a_png_that_say_how_it_is_turned(kind, depth, colour):
    exif = Image.Exif()
    exif[0x0112] = 6
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    written = b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    more = {
        "profile": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(written)),
        "xmp": (b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    }
    image = EIGHT if colour == 2 else EIGHT[..., 0]
    data = png(image.astype(int) * (257 if depth == 16 else 1), depth, colour, more[kind])
    assert np.array_equal(decode(data), np.rot90(EIGHT if colour == 2 else EIGHT[..., :1].repeat(3, 2), -1))


def test_exif_with_a_long_orientation():
    exif = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x0112, 4, 1, 6) + bytes(4)
    content = io.BytesIO()
    Image.fromarray(EIGHT).save(content, "JPEG", exif=b"Exif\0\0" + exif)
    assert decode(content.getvalue()).shape == (WIDTH, HEIGHT, 3)
