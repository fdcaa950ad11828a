from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


class ColourModel:
    """Stands for a model: the logits are the mean red, green and blue of the image, in tens."""

    def __init__(self):
        self.shapes: list[tuple[int, ...]] = []

    def predict_on_batch(self, images):
        self.shapes.append(images.shape)
        return images.astype(np.float32).mean(axis=(1, 2)) / 10


@pytest.fixture
def model():
    return ColourModel()


@pytest.fixture
def metadata():
    return {"classes": ["red", "green", "猫"], "image_size": [8, 10], "color": "rgb", "resize": "squash"}


@pytest.fixture
def images(tmp_path):
    """A folder of 7 images of one colour each; the file's name says which."""
    folder = tmp_path / "images"
    for name in (
        "b/blue2.png",
        "a/red1.png",
        "a/deep/green1.JPG",
        "red3.bmp",
        "b/blue1.png",
        "b/red2.png",
        "green2.png",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channel = ["red", "green", "blue"].index(path.stem[:-1].lower())
        pixels = np.full((12, 9, 3), 20, np.uint8)
        pixels[..., channel] = 120
        Image.fromarray(pixels).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_bytes(b"no image")
    return folder
