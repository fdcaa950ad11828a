"""A small trained run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_photos


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run directory: EfficientNet-Lite0 at 64 px, its head trained on three classes, 16 images of each."""
    import keras_transfer as kt
    from keras_transfer.config import load_config
    from keras_transfer.config.load import dump
    from keras_transfer.files import write_text

    folder = tmp_path_factory.mktemp("run")
    photos = make_photos(folder / "photos", {"äpple": 16, "berry": 16, "cherry": 16})
    config = load_config(None, ["data.image_size=64", "model.backbone=efficientnet_lite0"], str(photos), None)
    data = kt.data.folder(str(photos), image_size=64)
    clf = kt.Classifier("efficientnet_lite0", data.classes, image_size=64, precision="float32")
    clf.fit(data, [kt.Phase("head", epochs=4, learning_rate=0.01)], verbose=False)
    clf.save(folder / "model.keras")
    write_text(folder / "config.yaml", dump(config))
    return folder
