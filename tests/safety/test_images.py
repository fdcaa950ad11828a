"""Image files whose check and decoder could read different sizes, or that cost more than they hold; and what is no file."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import struct
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_transfer import data
from keras_transfer.data.images.decode import decode, read_header
from keras_transfer.data.samples import BadImage, FileStore
from keras_transfer.errors import UserError
from keras_transfer.evaluation.predict import find_images

PIXELS = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), 8, 0), 8, 1)  # 32 x 48


def saved(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


JPEG = saved("JPEG")
FRAME = JPEG.index(b"\xff\xc0")
FRAME_END = FRAME + 2 + struct.unpack(">H", JPEG[FRAME + 2 : FRAME + 4])[0]


def frame(height: int, width: int) -> bytes:
    return JPEG[FRAME : FRAME + 5] + struct.pack(">HH", height, width) + JPEG[FRAME + 9 : FRAME_END]


def in_jpeg(*parts: bytes) -> bytes:
    """A JPEG with these bytes before its frame header."""
    return JPEG[:FRAME] + b"".join(parts) + JPEG[FRAME:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def behind(*alone: int) -> bytes:
    """A JPEG with a huge frame header where a reader that expects a length behind these markers skips it."""
    hidden = frame(20000, 20000)
    tail = segment(0xFE, JPEG[FRAME:FRAME_END])  # for the other reader, the small one lies in here
    body = hidden + tail[: -(FRAME_END - FRAME)]
    return (
        JPEG[:FRAME]
        + b"".join(b"\xff" + bytes([m]) + struct.pack(">H", len(body) + 2) for m in alone)
        + body
        + JPEG[FRAME:]
    )


def with_scans(count: int) -> bytes:
    progressive = saved("JPEG", progressive=True)
    start, end = (progressive.rindex(b"\xff\xda"), len(progressive) - 2)
    return progressive[:end] + progressive[start:end] * count + progressive[end:]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


PIXEL_DATA = chunk(b"IDAT", zlib.compress(b"\0" * 97 * 32)) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], filler: int = 0) -> bytes:
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + bytes(4 + filler)


def webp(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp(width: int, height: int, compression: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54 + 1024) + info + bytes(1024) + b"\0\2\xff\xff" * 50


BOMBS = {
    "TEM has no length": behind(0x01),
    "RST has no length": behind(0xD3),
    "two of them": behind(0xD0, 0x01),
    "a frame header twice": in_jpeg(frame(20000, 20000)),
    "the small frame header first": JPEG[:FRAME_END] + frame(20000, 20000) + JPEG[FRAME_END:],
    "a second start of image": in_jpeg(b"\xff\xd8"),
    "a marker that nobody knows": in_jpeg(segment(0x02, frame(9, 9))),
    "a zero byte behind the marker": JPEG[:FRAME] + b"\xff\0" + frame(20000, 20000) + JPEG[FRAME:],
    "a height that comes later": JPEG[:FRAME] + frame(0, 48) + JPEG[FRAME_END:] + segment(0xDC, b"\x7f\xff"),
    "many scans": with_scans(200),
    "many segments": in_jpeg(segment(0xFE, b"") * 5000),
    "two PNG headers": png(header(32, 32), header(30000, 30000), PIXEL_DATA),
    "a PNG header that is not first": png(chunk(b"tEXt", b"x\0" + bytes(20)), header(32, 32), PIXEL_DATA),
    "a large WebP canvas": webp(20000, 20000),
    "TIFF tags that overlap": tiff(*((1000 + i, 1, 100_000, 8) for i in range(200)), filler=100_000),
    "huge TIFF tiles": tiff((256, 4, 1, 32), (257, 4, 1, 32), (322, 4, 1, 1 << 15), (323, 4, 1, 1 << 15)),
    "wide run-length rows": bmp(80_000_000, 1, 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_refused_before_decoding(tmp_path, name):
    (tmp_path / "x.jpg").write_bytes(BOMBS[name])
    began = time.process_time()
    with pytest.raises(BadImage) as refusal:
        FileStore(["x.jpg"], tmp_path).read(0)
    assert "\n" not in str(refusal.value)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"\xff" * 20],
        [b"junk"],
        [segment(0xEE, JPEG)],
        [b"\xff\x01"],
        [b"\xff\xd5"],
        [segment(0xFE, b"\xff\xc0" * 30)],
    ],
    ids=["plain", "fill bytes", "junk", "a thumbnail", "TEM", "RST", "markers in a comment"],
)
def test_the_size_is_the_decoders(parts):
    """libjpeg, through OpenCV and through Pillow, is the reference."""
    content = in_jpeg(*parts)
    reference = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if reference is None:
        with pytest.raises(Exception, match=r"."):
            decode(content)
        return
    found = read_header(content)
    assert (found.height, found.width) == reference.shape[:2] == decode(content).shape[:2]


def test_progressive_images_as_encoders_write_them():
    for scans in (0, 20):
        assert decode(with_scans(scans)).shape == PIXELS.shape


def test_exif_that_points_to_itself_is_not_read():
    exif = b"Exif\0\0" + tiff(*((1000 + i, 1, 50_000, 8) for i in range(500)), filler=50_000)
    assert decode(saved("WEBP", exif=exif)).shape == PIXELS.shape


def _as_nobody(folder: Path, writer: int) -> None:
    """Read a folder as another user, in a forked process, which must not go on as a second runner of the tests."""
    try:
        signal.alarm(60)  # ends it, whatever it waits for
        os.setuid(65534)
        opened = data.folder(folder, 8, on_bad_image="skip", val_fraction=0, test_fraction=0, workers=1)
        named = sum(path.name == "inner" for path in find_images(folder))
        os.write(writer, f"{len(opened)} {opened.skipped} {named}".encode())
    except BaseException as error:
        os.write(writer, repr(error).encode())
    finally:
        os._exit(0)


class TestNoFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for i in range(4):
                (tmp_path / "photos" / name / f"{i}.jpg").write_bytes(JPEG)
        return tmp_path / "photos"

    def put(self, folder, kind):
        path = folder / "cat" / "x.jpg"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                here = os.getcwd()  # noqa: PTH109 - the address of a socket is short
                os.chdir(path.parent)
                one.bind("x.jpg")
                os.chdir(here)
        elif kind == "bytes":
            with open(os.fsencode(folder / "cat") + b"/\xe9\xff.jpg", "wb") as stream:  # noqa: PTH123
                stream.write(b"no image")
        else:
            path.symlink_to({"loop": "x.jpg", "device": "/dev/zero", "nothing": "gone.jpg", "folder": "."}[kind])

    @pytest.mark.parametrize("kind", ["pipe", "socket", "device", "loop", "nothing", "bytes"])
    def test_one_line_and_a_recorded_skip(self, folder, kind):
        self.put(folder, kind)
        with pytest.raises(UserError, match=r"1 of 9 images cannot be read"):
            data.folder(folder, 8)
        opened = data.folder(folder, 8, on_bad_image="skip", val_fraction=0, test_fraction=0)
        assert len(opened) == 8 and len(opened.skipped) == 1

    def test_a_link_to_its_own_folder_is_followed_once(self, folder):
        self.put(folder, "folder")
        assert len(data.folder(folder, 8, val_fraction=0, test_fraction=0)) == 8

    def test_a_class_folder_whose_name_is_no_text(self, folder):
        os.rename(os.fsencode(folder / "cat"), os.fsencode(folder) + b"/c\xe9\xff")  # noqa: PTH104
        with pytest.raises(UserError, match="not valid text"):
            data.folder(folder, 8)

    def test_a_zero_byte_in_a_list(self, folder):
        (folder / "list.txt").write_bytes(b"a\0b/x.jpg cat\n")
        with pytest.raises(UserError, match="is no path"):
            data.list_file(folder / "list.txt", 8)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
    @pytest.mark.parametrize(
        ("closed", "expected"),
        [
            ("cat/inner", "8 (('cat/inner', 'Permission denied'),) 1"),
            ("owl", "only one image of 'owl'; expected at least two of each class; cannot read the folder"),
        ],
    )
    def test_folders_that_may_not_be_read(self, folder, closed, expected):
        data.folder(folder, 8, val_fraction=0, test_fraction=0)  # imports what another user may not read
        with tempfile.TemporaryDirectory() as place:  # the folders of tests are for their own user alone
            Path(place).chmod(0o755)
            copy = shutil.copytree(folder, Path(place) / "photos")
            (copy / closed).mkdir(mode=0o000)
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:  # as another user, who could not start an interpreter of root's
                _as_nobody(copy, writer)
            os.close(writer)
            with open(reader) as said:  # noqa: PTH123 - a descriptor
                found = said.read()
            os.waitpid(child, 0)
        assert expected in found

    def test_prediction_finds_links_to_nothing(self, folder):
        self.put(folder, "loop")
        assert folder / "cat" / "x.jpg" in find_images(folder)
