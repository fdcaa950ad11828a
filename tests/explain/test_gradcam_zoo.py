"""Grad-CAM of the zoo's networks against plain PyTorch on the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from keras_transfer.explain import gradcam
from tests.explain.test_gradcam import correlations

pytestmark = pytest.mark.backend


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("efficientnet_lite0", "imagenet"),
        pytest.param("mobilenet_v2", "none", marks=pytest.mark.slow),
        pytest.param("resnet50", "none", marks=pytest.mark.exhaustive),
    ],
)
def test_same_as_pytorch(name, weights):
    pytest.importorskip("torch")
    from keras_transfer.models.classifier import build_classifier
    from tests.explain.torch_walk import gradcam_by_torch

    model = build_classifier(name, 4, image_size=(96, 96), weights=weights, seed=1)
    head = model.get_layer("logits")
    rng = np.random.default_rng(0)
    head.set_weights([rng.normal(0, 0.1, head.kernel.shape), np.zeros(4)])
    images = rng.integers(0, 256, (3, 6, 6, 3)).repeat(16, axis=1).repeat(16, axis=2).astype(np.uint8)
    classes = [0, 1, 2]
    logits, expected = gradcam_by_torch(model, images, classes)
    np.testing.assert_allclose(model.predict_on_batch(images.astype(np.float32)), logits, rtol=1e-3, atol=1e-3)
    maps = gradcam(model, images, classes)
    shown = [i for i in range(3) if expected[i].any()]
    assert shown and min(correlations(maps[shown], expected[shown])) > 0.999
