from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def model():
    """A classifier of four classes with random BatchNormalization statistics and head weights."""
    return make_model()


def make_model(pooling: str = "avg", seed: int = 3):
    from keras_transfer.models.classifier import build_classifier

    model = build_classifier("tiny", 4, image_size=(32, 40), weights="none", pooling=pooling, seed=seed)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            shape = layer.gamma.shape
            layer.set_weights([rng.normal(1, 0.3, shape), rng.normal(0, 0.3, shape), rng.normal(0, 0.5, shape),
                               rng.uniform(0.5, 2, shape)])  # fmt: skip
    model.get_layer("logits").set_weights([rng.normal(0, 1, (32, 4)), rng.normal(0, 1, 4)])
    return model


@pytest.fixture
def images():
    return make_images()


def make_images(count: int = 5):
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, 4, 5, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.clip(coarse + rng.integers(-20, 20, coarse.shape), 0, 255).astype(np.uint8)
