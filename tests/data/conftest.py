from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image


def smooth(height: int = 30, width: int = 40, seed: int = 0) -> np.ndarray:
    """An image of gentle colour gradients, which survives JPEG and resampling: uint8 (h, w, 3)."""
    small = np.random.default_rng(seed).integers(30, 226, (4, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write images `{path: seed}` below a folder as small PNGs (or JPEGs, by their ending)."""

    def write(root: Path, images: dict[str, int]) -> Path:
        for name, seed in images.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = "JPEG" if path.suffix == ".jpg" else "PNG"
            path.write_bytes(encoded(smooth(12, 16, seed), kind))
        return root

    return write


@pytest.fixture
def animals(tmp_path: Path, write) -> Path:
    """Class folders: 12 cats, 10 dogs, 8 owls."""
    sizes = {"cat": 12, "dog": 10, "owl": 8}
    return write(
        tmp_path / "animals",
        {f"{name}/{i:02d}.jpg": 100 * k + i for k, (name, n) in enumerate(sizes.items()) for i in range(n)},
    )
