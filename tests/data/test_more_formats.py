"""16-bit images, archives, HEIC, and the pixel limit."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_transfer import data
from keras_transfer.data.images import heif
from keras_transfer.data.images.decode import decode
from keras_transfer.data.images.depth import FULL, chosen, parse, to_8_bit
from keras_transfer.data.samples import FileStore
from keras_transfer.errors import UserError
from keras_transfer.safety import Refused
from tests.data.conftest import encoded, smooth


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20), st.integers(0, 65534), st.integers(1, 65535))
def test_scaling_is_that_of_exact_arithmetic(values, low, width):
    span = low, min(low + width, 65535)
    exact = [(min(max(v, low), span[1]) - low) * 255 / (span[1] - low) for v in values]
    assert (abs(to_8_bit(np.array(values, np.uint16), span) - np.array(exact)) <= 0.5).all()


@pytest.mark.parametrize(
    ("ranges", "span"),
    [
        ([(0, 4095)], (0, 4095)), ([(100, 3000), (0, 50)], (0, 4095)), ([(0, 65535)], FULL), ([(0, 200)], (0, 255)),
        ([(40000, 40100)], (40000, 40100)), ([(2010, 2115)], (2010, 2115)), ([(7, 7)], (0, 255)), ([], None),
    ],
)  # fmt: skip
def test_the_range_that_is_used(ranges, span):
    assert chosen(ranges) == span


def deep(root, low=0, high=4096, n=8):
    rng = np.random.default_rng(0)
    for name in "ab":
        (root / name).mkdir(parents=True)
        for i in range(n):
            cv2.imwrite(str(root / name / f"{i}.png"), rng.integers(low, high, (9, 9)).astype(np.uint16))
    return root


def test_data_know_their_range_and_say_it(tmp_path):
    read = data.folder(deep(tmp_path / "d"))
    assert read.depth == (0, 4095) and read.train.read(0).max() > 250
    assert any("16-bit images: 16" in note for note in read.samples.notes)
    assert data.folder(tmp_path / "d", depth=None).train.read(0).max() < 17
    assert data.folder(tmp_path / "d", depth=[0, 100]).train.read(0).mean() > 230
    assert read.test.at_depth(None).read(0).max() < 17  # as a model reads it that has learned from others
    stamps = [list(FileStore(["a/0.png"], tmp_path / "d", depth).stamps()) for depth in (None, (0, 4095))]
    assert stamps[0] != stamps[1]  # features are cached by them


def test_transparency_keeps_its_own_range():
    image = np.full((4, 4, 4), 65535, np.uint16)
    image[..., :3] = 100
    shown = decode(cv2.imencode(".png", image)[1].tobytes(), span=(0, 200))
    assert (shown == 128).all()  # opaque, at half of the range


@pytest.mark.parametrize("wrong", [7, 17, True, [5], [3, 2], [0, 70000], "12", [0, 1.5]])
def test_a_range_that_is_none(wrong):
    with pytest.raises(UserError, match="depth"):
        parse(wrong)


@pytest.mark.backend
def test_a_model_file_keeps_the_range(tmp_path):
    import keras_transfer as kt

    read = kt.data.folder(deep(tmp_path / "d"), image_size=16)
    clf = kt.Classifier("tiny", read.classes, image_size=16, weights="none", color=read.color)
    clf._take_depth(read)
    clf.save(tmp_path / "m.keras")
    loaded = kt.load(tmp_path / "m.keras")
    assert loaded.metadata["depth"] == [0, 4095]
    file = tmp_path / "d/a/0.png"
    eight_bit = to_8_bit(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), (0, 4095))
    assert loaded.predict(file).probabilities == pytest.approx(loaded.predict(eight_bit).probabilities, abs=1e-6)


def test_a_zip_is_read_like_a_folder(tmp_path, animals, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for path in sorted(animals.rglob("*.jpg")):
            file.write(path, f"animals/{path.relative_to(animals)}")
        file.writestr("__MACOSX/animals/cat/._00.jpg", b"Mac OS X")
    read = data.folder(tmp_path / "p.zip")
    assert read.samples.names() == data.folder(animals).samples.names()
    assert np.array_equal(read.all.read(3), data.folder(animals).all.read(3))


@pytest.mark.parametrize("kind", ["outside", "absolute", "link", "bomb", "damaged", "encrypted"])
def test_zips_that_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        name = {"outside": "../../x.png", "absolute": "/x.png"}.get(kind, "a/x.png")
        member = zipfile.ZipInfo(name)
        if kind == "link":
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(member, bytes(300 << 20) if kind == "bomb" else b"x" * 100, zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    if kind == "damaged":
        raw[40:60] = bytes(20)
    if kind == "encrypted":
        raw[6] |= 1
        raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(UserError if kind in ("damaged", "encrypted") else Refused):
        data.folder(path)
    assert not list(tmp_path.glob("**/x.png"))


@pytest.mark.parametrize("reader", [False, True])
def test_heic_is_named(tmp_path, write, monkeypatch, reader):
    monkeypatch.setattr(heif, "can_read", lambda kind: reader)
    root = write(tmp_path / "d", {f"{name}/{i}.png": i for name in "ab" for i in range(3)})
    photo = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(200)
    (root / "a" / "IMG_1.HEIC").write_bytes(photo)
    assert any(".heic" in note for note in data.folder(root).samples.notes)
    (root / "a" / "IMG_2.jpg").write_bytes(photo)
    with pytest.raises(UserError, match=r"a/IMG_2.jpg: .*HEIC" + ("" if reader else r".*keras_transfer\[heif\]")):
        data.folder(root)
    (root / "a" / "IMG_2.jpg").unlink()
    (root / "a" / "IMG_3.heic").write_bytes(
        photo[:36] + b"\0\0\0\x10meta" + bytes(200)
    )  # with contents: a damaged picture
    if reader:
        with pytest.raises(UserError, match=r"a/IMG_3.heic: a damaged picture in the format HEIC"):
            data.folder(root)
    assert heif.kind_of(b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert heif.kind_of(b"\0\0\0\x20ftypisom\0\0\0\0isommp42") == ""


@pytest.mark.skipif(not heif.can_read("AVIF"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path):
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "d" / name / f"{i}.avif").write_bytes(encoded(smooth(24, 24, i), "AVIF", quality=95))
    read = data.folder(tmp_path / "d", val_fraction=0)
    assert len(read) == 6
    assert abs(read.all.read(1).astype(int) - smooth(24, 24, 1)).mean() < 4


@pytest.mark.parametrize(
    ("limit", "words"),
    [("100", "more than the limit of 100"), ("many", "expected a number of pixels"), ("0", "expected")],
)
def test_the_pixel_limit_can_be_set(tmp_path, limit, words):
    (tmp_path / "x.png").write_bytes(encoded(smooth(20, 20)))
    code = "import sys; from keras_transfer.data.images.decode import decode; decode(open(sys.argv[1], 'rb').read())"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.png"],
        env={**os.environ, "KERAS_TRANSFER_MAX_PIXELS": limit},
        capture_output=True,
        text=True,
    )
    assert words in done.stderr
