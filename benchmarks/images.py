"""Test photographs: crops of the two that come with scikit-learn."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from keras_transfer.data.archive import cache_dir


def jpeg_folder(count: int, quality: int = 95, height: int = 375, width: int = 500) -> Path:
    """Return a folder with two class folders of JPEG files, created once in the cache.

    Each is a random crop of a photograph, resized to the given size; all are different.
    """
    folder = cache_dir() / "benchmarks" / f"jpeg-{count}-{width}x{height}-{quality}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        _write(aside, count, quality, height, width)
        os.replace(aside, folder)  # noqa: PTH105
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _write(folder: Path, count: int, quality: int, height: int, width: int) -> None:
    import cv2
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    for name in ("china", "flower"):
        (folder / name).mkdir()
    for i in range(count):
        photo = photos[i % 2]
        share = rng.uniform(0.85, 1.0)
        h = int(min(photo.shape[0], photo.shape[1] * height / width) * share)
        w = int(h * width / height)
        y, x = rng.integers(0, photo.shape[0] - h + 1), rng.integers(0, photo.shape[1] - w + 1)
        cut = cv2.resize(photo[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_CUBIC)
        path = folder / ("china", "flower")[i % 2] / f"{i:05d}.jpg"
        cv2.imwrite(str(path), cut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
