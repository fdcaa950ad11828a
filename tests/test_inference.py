"""The loaded model computes what the saved one did."""

import keras
import numpy as np
import pytest

from keras_transfer import inference
from keras_transfer.models import bundle
from keras_transfer.models.classifier import build_classifier

pytestmark = pytest.mark.backend


def test_the_loaded_model_gives_the_saved_logits_with_native_operations(tmp_path):
    """The golden batch is checked with stock layers, while predictions use native operations where a backend has them."""
    backend = keras.backend.backend()
    model = build_classifier("efficientnet_lite0", 3, image_size=64)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    expected = model.predict_on_batch(images)
    facts = {"classes": ["a", "b", "c"], "image_size": [64, 64], "color": "rgb", "resize": "squash"}
    bundle.save(model, tmp_path / "a.keras", facts, images)
    loaded, metadata, run = inference.start(tmp_path / "a.keras", backend, "cpu")
    assert any("call" in layer.__dict__ for layer in loaded.layers) == (backend != "tensorflow")
    np.testing.assert_allclose(loaded.predict_on_batch(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert metadata["classes"] == ["a", "b", "c"] and run is None
