"""Decoded images stay in memory up to a limit, and nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import Transform
from keras_transfer.data.images import decode
from keras_transfer.data.images.kept import KeptImages
from keras_transfer.data.loading.loader import Loader

CROP = [{"name": "random_resized_crop", "scale": [0.08, 1.0]}, "horizontal_flip"]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Twelve photographs of 96 × 128, some as JPEG, some as PNG; one turned by its EXIF."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("kept")
    rng = np.random.default_rng(0)
    for i in range(12):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        pixels = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (128, 96))
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 4 else 1
        ending = "png" if i % 3 == 0 else "jpg"
        Image.fromarray(pixels).save(
            folder / "ab"[i % 2] / f"{i}.{ending}", **({"exif": exif} if ending == "jpg" else {})
        )
    return data.folder(folder, val_fraction=0.0, test_fraction=0.0).train


@pytest.fixture
def decoded(monkeypatch):
    """The reductions of all images that were decoded."""
    found: list[int] = []
    original = decode.decode

    def spy(content, reduction=1, *more):
        found.append(reduction)
        return original(content, reduction, *more)

    monkeypatch.setattr(decode, "decode", spy)
    return found


def epochs(split, limit: int | None, count: int = 3, size: int = 24, workers: int = 0) -> list[np.ndarray]:
    with Loader(split, Transform((size, size), CROP), 5, shuffle=True, workers=workers) as loader:
        if limit is not None:
            loader.keep(limit)
        return [np.concatenate([x for x, _ in loader.epoch(epoch)]) for epoch in range(count)]


@pytest.mark.parametrize("limit", [0, 100_000, 1 << 30])
def test_pixels_are_the_same(split, limit):
    for a, b in zip(epochs(split, limit, workers=2), epochs(split, None)):
        np.testing.assert_array_equal(a, b)


def test_what_is_kept_is_not_decoded_again(split, decoded):
    epochs(split, 1 << 30, count=6, size=96)  # no crop can be read at half its size
    assert decoded == [1] * 12


def test_each_reduction_is_kept(split, decoded):
    epochs(split, 1 << 30, count=20, size=16)
    assert len(set(decoded)) > 1 and len(decoded) <= 12 * len(set(decoded))


def test_no_more_is_kept_than_the_limit(split, decoded):
    image = 96 * 128 * 3
    epochs(split, 6 * image - 1, count=4, size=96)
    assert 12 + 3 * 7 <= len(decoded) < 4 * 12


def test_arrays_are_given_as_they_are():
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    from keras_transfer.data.images.store import ArrayImage, ArrayStore

    image = KeptImages(ArrayStore(array), 1 << 20).open(1)
    assert isinstance(image, ArrayImage) and np.shares_memory(image.pixels(), array)


def test_folds_share_what_is_kept(split, decoded):
    with Loader(split, Transform((96, 96), CROP), 5, shuffle=True, workers=0) as loader:
        loader.keep(1 << 30)
        for positions in (np.arange(8), np.arange(4, 12)):
            with loader.only(positions) as part:
                for _ in part.epoch(0):
                    pass
    assert len(decoded) == 12
