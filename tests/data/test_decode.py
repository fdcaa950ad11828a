from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_transfer.data.images import decode as module
from keras_transfer.data.images.decode import DecodeError, decode, on_white, read_header, to_8_bit
from keras_transfer.data.samples import BadImage, FileStore
from tests.data.conftest import encoded, smooth

IMAGE = smooth()


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels(kind):
    image = IMAGE if kind != "GIF" else np.repeat((IMAGE[:, :, :1] // 8) * 8, 3, axis=2)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encoded(image, kind, **options)), image)


def test_jpeg_agrees_with_pillow():
    data = encoded(IMAGE, "JPEG", quality=95)
    assert read_header(data).plain
    assert np.abs(decode(data).astype(int) - pillow(data)).max() <= 2


def test_both_routes_agree_on_every_orientation(monkeypatch):
    corner = IMAGE.copy()
    corner[:8, :8] = 255
    for order in "II", "MM":
        for value in range(1, 9):
            entry = struct.pack((">" if order == "MM" else "<") + "HHIHH", 0x0112, 3, 1, value, 0)
            head = struct.pack((">" if order == "MM" else "<") + "HIH", 42, 8, 1)
            exif = b"Exif\0\0" + order.encode() + head + entry + b"\0\0\0\0"
            data = encoded(corner, "JPEG", exif=exif, quality=95)
            assert read_header(data).orientation == value
            expected = pillow(data)
            fast = decode(data)
            with monkeypatch.context() as patch:
                patch.setattr(module, "_opencv", lambda *_: None)
                slow = decode(data)
            assert fast.shape == slow.shape == expected.shape == ((30, 40, 3) if value < 5 else (40, 30, 3))
            assert np.abs(fast.astype(int) - expected).max() <= 2
            assert np.abs(slow.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_of_other_formats(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encoded(IMAGE, kind, exif=exif, **options)), np.rot90(IMAGE, -1))


def test_a_16_bit_png_is_scaled_and_turned():
    deep = IMAGE.astype(np.uint16) * 257
    png = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    assert read_header(png).deep
    assert np.array_equal(decode(png), IMAGE)
    grey = cv2.imencode(".png", deep[..., 0])[1].tobytes()
    assert np.array_equal(decode(grey), np.repeat(IMAGE[..., :1], 3, axis=2))
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    assert np.array_equal(decode(png[:33] + chunk + png[33:]), np.rot90(IMAGE, -1))


def test_16_bit_with_alpha_and_16_bit_tiff():
    deep = np.dstack([IMAGE[..., ::-1].astype(np.uint16) * 257, np.full((30, 40), 65535, np.uint16)])
    deep[:5, :, 3] = 0
    image = decode(cv2.imencode(".png", deep)[1].tobytes())
    assert (image[:5] == 255).all()
    assert np.array_equal(image[5:], IMAGE[5:])
    tiff = encoded(Image.fromarray(IMAGE[..., 0].astype(np.uint16) * 257), "TIFF")
    assert np.array_equal(decode(tiff), np.repeat(IMAGE[..., :1], 3, axis=2))


def test_every_colour_and_transparency_is_laid_on_white_exactly():
    colours, alphas = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.dstack([colours, colours, colours, alphas]).astype(np.uint8)
    wanted = (colours * alphas + 255 * (255 - alphas) + 127) // 255
    assert np.array_equal(on_white(np.tile(rgba, (20, 1, 1)))[..., 1], np.tile(wanted, (20, 1)))
    assert on_white(rgba[:0]).shape == (0, 256, 3)


def test_tiff_with_fewer_strips_than_rows_is_refused():
    whole = encoded(np.dstack([IMAGE, IMAGE[..., :1]]), "TIFF")
    decode(whole)
    # Its height (tag 257) becomes 30 + 2^20; its only strip still holds 30 rows.
    taller = whole.replace(struct.pack("<HHIHH", 257, 3, 1, 30, 0), struct.pack("<HHII", 257, 4, 1, 30 + (1 << 20)))
    longer = whole.replace(struct.pack("<HHII", 257, 4, 1, 30), struct.pack("<HHII", 257, 4, 1, 30 + (1 << 20)))
    changed = [one for one in (taller, longer) if one != whole]
    assert changed
    with pytest.raises(DecodeError, match="strips hold 1200 of 1048606x40 pixels"):
        decode(changed[0])


def test_transparency_is_laid_on_white():
    rgba = np.dstack([IMAGE, np.full((30, 40), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 128
    for kind in "PNG", "TIFF":
        image = decode(encoded(rgba, kind))
        assert (image[:10] == 255).all()
        assert np.array_equal(image[20:], IMAGE[20:])
        half = np.rint(IMAGE[10:20] * (128 / 255) + 255 * (127 / 255))
        assert np.abs(image[10:20] - half).max() <= 1
    la = encoded(Image.fromarray(rgba).convert("LA"))
    assert (decode(la)[:10] == 255).all()


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(IMAGE).quantize(16)
    assert np.array_equal(decode(encoded(palette)), np.asarray(palette.convert("RGB")))
    transparent = decode(encoded(palette, transparency=0))
    assert (transparent[np.asarray(palette) == 0] == 255).all()
    grey = encoded(Image.fromarray(IMAGE[..., 0]), "PNG", transparency=int(IMAGE[0, 0, 0]))
    assert (decode(grey)[0, 0] == 255).all()


def test_grey_bilevel_and_cmyk():
    grey = Image.fromarray(IMAGE[..., 0])
    for kind in "PNG", "JPEG":
        image = decode(encoded(grey, kind))
        assert image.shape == (30, 40, 3)
        assert (np.ptp(image, axis=2) == 0).all()
    bilevel = grey.convert("1")
    assert np.array_equal(decode(encoded(bilevel))[..., 0], np.asarray(bilevel) * np.uint8(255))
    cmyk = Image.fromarray(IMAGE).convert("CMYK")
    image = decode(encoded(cmyk, "JPEG", quality=95))
    assert np.abs(image.astype(int) - IMAGE).mean() < 4


def test_first_frame_of_an_animation():
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200)]
    for kind, options in ("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode(data) == 10).all()


def test_pixels_that_have_no_8_bit_form():
    with pytest.raises(DecodeError, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    with pytest.raises(DecodeError, match="32-bit integer"):
        decode(encoded(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"))


def test_a_jpeg_at_a_fraction_of_its_size():
    data = encoded(smooth(90, 121), "JPEG", quality=95)
    whole = decode(data)
    for factor in 2, 4, 8:
        small = decode(data, factor)
        assert small.shape == (-(-90 // factor), -(-121 // factor), 3)
        # Each pixel is the mean of a block; blocks at the edge are filled up.
        filled = cv2.copyMakeBorder(whole, 0, -90 % factor, 0, -121 % factor, cv2.BORDER_REPLICATE)
        again = cv2.resize(filled, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - again).mean() < 1
    assert decode(encoded(IMAGE, "PNG"), 4).shape == IMAGE.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_files_cut_short_are_bad(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * share)])


def test_a_jpeg_cut_short_behind_its_thumbnail_is_bad():
    thumbnail = encoded(smooth(8, 8), "JPEG")
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = data[:2] + segment + data[2:]
    assert decode(data).shape == (64, 64, 3)
    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2])


def test_a_jpeg_that_only_lacks_its_end_marker_is_good():
    data = encoded(IMAGE, "JPEG", quality=95)
    assert data.endswith(b"\xff\xd9")
    try:
        image = decode(data[:-2])
    except DecodeError:  # a Pillow that is strict about the marker
        return
    assert np.abs(image.astype(int) - decode(data)).max() <= 2


def test_damage_inside_of_a_png_is_found():
    data = bytearray(encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DecodeError):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"hello, this is text", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"\xff\xd8\xff\xe0 nonsense that has no segments", "Truncated|not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
    ],
)
def test_things_that_are_not_images(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def test_decompression_bombs_are_refused():
    with pytest.raises(DecodeError, match="30000 x 30000 pixels"):
        decode(png_of_size(30000, 30000))
    small = bytearray(encoded(IMAGE, "JPEG"))
    at = small.index(b"\xff\xc0")
    small[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(DecodeError, match="60000 x 60000"):
        decode(bytes(small))
    gif = bytearray(encoded(IMAGE, "GIF"))
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    with pytest.raises(DecodeError, match=r"(?i)bomb"):
        decode(bytes(gif))


def test_nonsense_in_exif_is_ignored():
    for exif in b"XX", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0":
        data = encoded(IMAGE, "JPEG")
        segment = b"Exif\0\0" + exif
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
        assert read_header(data).orientation == 1
        assert decode(data).shape == IMAGE.shape


def test_rounding():
    assert to_8_bit(np.array([0, 128, 129, 257, 65535], np.uint16)).tolist() == [0, 0, 1, 1, 255]
    assert on_white(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)).tolist() == [[[10, 20, 30], [255] * 3]]


def test_without_the_rgb_flag_of_newer_opencv(monkeypatch):
    data = encoded(IMAGE, "PNG")
    monkeypatch.setattr(module, "_COLOR", None)
    assert np.array_equal(decode(data), IMAGE)


def test_file_store(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").write_bytes(encoded(smooth(90, 120), "JPEG"))
    (tmp_path / "y.png").write_bytes(encoded(smooth(90, 120)))
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    store = FileStore(["a/x.jpg", "y.png", "bad.jpg", "gone.jpg", "a"], tmp_path)
    assert len(store) == 5
    assert store.name(0) == "a/x.jpg"
    assert store.path(0) == tmp_path / "a/x.jpg"
    jpeg, png = store.open(0), store.open(1)
    assert jpeg.decoded(2).shape == (45, 60, 3)
    assert [jpeg.reduction_for(90 / side) for side in (40, 91, 1)] == [2, 1, 8]
    assert png.reduction_for(90 / 10) == 1
    with pytest.raises(BadImage) as error:
        store.read(2)
    assert error.value.name == "bad.jpg"
    assert "not an image" in error.value.reason
    with pytest.raises(BadImage, match="no such file"):
        store.read(3)
    with pytest.raises(BadImage, match="directory"):
        store.read(4)
    assert list(store.take(np.array([1, 3])).digests()) == [b"%d," % (tmp_path / "y.png").stat().st_size, b"-1,"]
    absolute = FileStore([tmp_path / "y.png"], None)
    assert absolute.read(0).shape == (90, 120, 3)
    assert absolute.name(0) == str(tmp_path / "y.png")


def test_files_too_large_are_refused(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(encoded(IMAGE))
    monkeypatch.setattr("keras_transfer.data.images.store.MAX_FILE_BYTES", 100)
    with pytest.raises(BadImage, match="MiB"):
        FileStore(["x.png"], tmp_path).read(0)
