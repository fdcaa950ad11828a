"""Kinds of image files that people have: each is read as it should look, or named as bad. Nothing else happens."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_transfer import data
from keras_transfer.cli import main
from keras_transfer.data.images.decode import DecodeError, decode
from keras_transfer.data.samples import BadImage, FileStore
from keras_transfer.errors import UserError

SIDE = 24
KINDS: dict[str, tuple[bytes, str]] = {}  # name → content, and "good" or "bad"


def pixels() -> np.ndarray:
    """An image whose left half is red and whose right half is blue: orientation and colours show."""
    image = np.zeros((SIDE, SIDE * 2, 3), np.uint8)
    image[:, :SIDE, 0] = 220
    image[:, SIDE:, 2] = 220
    return image


def saved(kind: str, image: Image.Image | None = None, **options) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(pixels())).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) if crc is None else crc)
    )


def png(header: bytes, content: bytes, *more: bytes) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )


def size(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


JPEG, PNG, GIF, BMP, TIFF, WEBP = (saved(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"))
FRAME = JPEG.index(b"\xff\xc0")  # the header with the size

for name, whole in {"jpeg": JPEG, "png": PNG, "gif": GIF, "bmp": BMP, "tiff": TIFF, "webp": WEBP}.items():
    KINDS[name] = (whole, "good")
    for percent in (1, 10, 50):
        KINDS[f"{name} cut at {percent} %"] = (whole[: max(1, len(whole) * percent // 100)], "bad")
for orientation in range(1, 9):
    KINDS[f"jpeg turned by exif {orientation}"] = (saved("JPEG", exif=exif(orientation), quality=95), "good")
    KINDS[f"png turned by exif {orientation}"] = (saved("PNG", exif=exif(orientation)), "good")

grey = Image.fromarray(pixels()).convert("L")
deep = (np.asarray(grey).astype(np.uint16) * 257)[..., None]
KINDS |= {
    "empty": (b"", "bad"),
    "one byte": (b"\xff", "bad"),
    "zeros": (bytes(5000), "bad"),
    "noise": (np.random.default_rng(0).bytes(5000), "bad"),
    "text": (b"an image of a cat\n" * 20, "bad"),
    "html": (b"<!DOCTYPE html><html>not found</html>", "bad"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "bad"),
    "jpeg 2000": (saved("JPEG2000"), "bad"),
    "icon": (saved("ICO"), "bad"),
    "photoshop": (b"8BPS\0\1" + bytes(200), "bad"),
    "film": (b"\0\0\0\x18ftypisom" + bytes(200), "bad"),
    "dicom": (bytes(128) + b"DICM" + bytes(200), "bad"),
    "tiff whose directory is at 2^64": (b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(50), "bad"),
    "pdf": (b"%PDF-1.7\n" + bytes(200), "bad"),
    "zip": (b"PK\3\4" + bytes(200), "bad"),
    "jpeg with the magic of png": (b"\x89PNG\r\n\x1a\n" + JPEG[8:], "bad"),
    "png with the magic of jpeg": (b"\xff\xd8\xff\xe0" + PNG[4:], "bad"),
    "only a jpeg's magic": (b"\xff\xd8\xff\xe0", "bad"),
    "only a png's magic": (b"\x89PNG\r\n\x1a\n", "bad"),
    "jpeg with rubbish after it": (JPEG + b"rubbish" * 100, "good"),
    "jpeg without its end mark": (JPEG[:-2], "any"),
    "jpeg progressive": (saved("JPEG", progressive=True), "good"),
    "jpeg cmyk": (saved("JPEG", Image.fromarray(pixels()).convert("CMYK")), "good"),
    "jpeg grey": (saved("JPEG", grey), "good"),
    "jpeg with a colour profile": (saved("JPEG", icc_profile=bytes(3000)), "good"),
    "jpeg with a broken exif": (saved("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), "good"),
    "jpeg of no pixels": (patched(JPEG, FRAME + 5, b"\0\0\0\0"), "bad"),
    "jpeg of 65,535 pixels a side": (patched(JPEG, FRAME + 5, b"\xff\xff\xff\xff"), "bad"),
    "jpeg of 12 bits": (patched(JPEG, FRAME + 4, b"\x0c"), "bad"),
    "png of one pixel": (saved("PNG", Image.new("RGB", (1, 1), "red")), "good"),
    "png of one column": (saved("PNG", Image.new("RGB", (1, 4000), "red")), "good"),
    "png of no pixels": (png(size(0, 0), zlib.compress(b"")), "bad"),
    "png of 10^18 pixels": (png(size(1 << 30, 1 << 30), zlib.compress(bytes(1000))), "bad"),
    "png that inflates": (png(size(10, 10), zlib.compress(bytes(10_000_000))), "any"),
    "png with too little data": (png(size(100, 100), zlib.compress(bytes(300))), "bad"),
    "png with data that is no zlib": (png(size(10, 10), bytes(500)), "bad"),
    "png of an unknown colour type": (png(size(10, 10, 8, 5), zlib.compress(bytes(500))), "bad"),
    "png with a wrong checksum": (PNG[:29] + bytes(4) + PNG[33:], "any"),
    "png with a palette": (saved("PNG", Image.fromarray(pixels()).convert("P")), "good"),
    "png without its palette": (png(size(10, 10, 8, 3), zlib.compress(bytes(110))), "any"),
    "png beyond its palette": (
        png(size(10, 10, 8, 3), zlib.compress((b"\0" + b"\xff" * 10) * 10), chunk(b"PLTE", b"\xff\0\0")),
        "any",
    ),
    "png of 1 bit": (saved("PNG", grey.convert("1")), "good"),
    "png of 16 bits grey": (cv2.imencode(".png", deep)[1].tobytes(), "good"),
    "png of 16 bits colour": (cv2.imencode(".png", np.repeat(deep, 3, 2))[1].tobytes(), "good"),
    "png with transparency": (saved("PNG", Image.fromarray(pixels()).convert("RGBA")), "good"),
    "png grey with transparency": (saved("PNG", grey.convert("LA")), "good"),
    "png animated": (saved("PNG", save_all=True, append_images=[Image.new("RGB", (48, 24))]), "good"),
    "png with a text of 100 MB": (
        png(size(1, 1), zlib.compress(bytes(4)), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))),
        "any",
    ),
    "gif animated": (saved("GIF", save_all=True, append_images=[Image.new("RGB", (48, 24))], duration=100), "good"),
    "gif of 65,535 pixels a side": (patched(GIF, 6, b"\xff\xff\xff\xff"), "bad"),
    "gif without an image": (b"GIF89a\1\0\1\0\0\0\0;", "bad"),
    "webp animated": (saved("WEBP", save_all=True, append_images=[Image.new("RGB", (48, 24))]), "good"),
    "webp lossless": (saved("WEBP", lossless=True), "good"),
    "bmp with a negative height": (patched(BMP, 22, struct.pack("<i", -SIDE)), "any"),
    "bmp of 2^31 pixels a side": (patched(BMP, 18, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"), "bad"),
    "tiff of 32-bit floats": (saved("TIFF", Image.new("F", (5, 5))), "bad"),
    "tiff of many pages": (saved("TIFF", save_all=True, append_images=[Image.new("RGB", (48, 24))]), "good"),
    "tiff in lab colours": (saved("TIFF", Image.new("LAB", (5, 5))), "any"),
    "tiff whose directory is itself": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "bad"),
    "ppm": (saved("PPM"), "good"),
    "ppm of 10^18 pixels": (b"P6 1000000000 1000000000 255\n" + bytes(100), "bad"),
    "ppm with letters for numbers": (b"P6 a b 255\n" + bytes(100), "bad"),
}


def test_there_are_enough_kinds():
    assert len(KINDS) >= 40 and sum(expected == "bad" for _, expected in KINDS.values()) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_read_as_it_should_look_or_named(tmp_path, kind):
    content, expected = KINDS[kind]
    (tmp_path / "file.img").write_bytes(content)
    store = FileStore(["file.img"], tmp_path)
    try:
        image = store.read(0)
    except BadImage as error:
        assert expected != "good", error
        assert error.name == "file.img" and error.reason and "\n" not in error.reason
        return
    assert expected != "bad"
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    if "turned" in kind:
        assert _upright(image, int(kind[-1]))


def _upright(image: np.ndarray, orientation: int) -> bool:
    """Red and blue lie where the orientation says (TIFF 6.0, tag 274)."""
    start, end = image[SIDE // 2, 2], image[SIDE // 2, -3]
    if orientation >= 5:
        start, end = image[2, SIDE // 2], image[-3, SIDE // 2]
    red_first = orientation in (1, 4, 5, 6)
    first, second = (start, end) if red_first else (end, start)
    return bool(first[0] > 150 and first[2] < 100 and second[2] > 150 and second[0] < 100)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """All kinds at once, each in both of two classes, with good images beside them."""
    folder = tmp_path_factory.mktemp("kinds")
    for label in ("a", "b"):
        (folder / label).mkdir()
        for number, (content, _) in enumerate(KINDS.values()):
            (folder / label / f"{number:03d}.png").write_bytes(content)
    return folder


def test_every_file_is_a_sample_with_its_label_or_a_recorded_skip(images):
    found = data.folder(images, image_size=16, on_bad_image="skip")
    names = found.samples.names()
    skipped = [name for name, _ in found.skipped]
    assert sorted([*names, *skipped]) == sorted(f"{label}/{n:03d}.png" for label in "ab" for n in range(len(KINDS)))
    for name, label in zip(names, found.samples.labels):
        assert name[0] == found.classes[label]
    for n, (_, expected) in enumerate(KINDS.values()):
        assert (f"a/{n:03d}.png" in skipped) == (f"b/{n:03d}.png" in skipped)
        if expected != "any":
            assert (f"a/{n:03d}.png" in skipped) == (expected == "bad")


def test_without_leave_to_skip_they_are_all_listed(images):
    with pytest.raises(UserError, match=r"images cannot be read \(on_bad_image='skip' skips them\)"):
        data.folder(images, image_size=16)


def test_doctor_names_them(images, capsys):
    assert main(["doctor", str(images)]) == 0
    assert "unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("whole", [JPEG, PNG, GIF, BMP, TIFF, WEBP], ids=["jpeg", "png", "gif", "bmp", "tiff", "webp"])
def test_cut_or_damaged_anywhere(tmp_path, whole):
    """Cut at every place, and a byte changed at random: an image or a BadImage."""
    rng = np.random.default_rng(0)
    file = tmp_path / "file.img"
    store = FileStore(["file.img"], tmp_path)
    cuts = sorted({*range(0, len(whole), max(1, len(whole) // 150))})
    damaged = [patched(whole, int(rng.integers(len(whole))), rng.bytes(1)) for _ in range(150)]
    for content in [*(whole[:cut] for cut in cuts), *damaged]:
        file.write_bytes(content)
        try:
            image = store.read(0)
        except BadImage:
            continue
        assert image.dtype == np.uint8 and image.shape[2] == 3


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("jpeg 2000", "JPEG 2000"),
        ("icon", "ICO"),
        ("photoshop", "Photoshop"),
        ("film", "a film"),
        ("dicom", "DICOM"),
        ("pdf", "PDF"),
        ("zip", "zip archive"),
    ],
)
def test_other_formats_are_named(kind, words):
    with pytest.raises(DecodeError, match=f"{words}.*, which is not read: save"):
        decode(KINDS[kind][0])
