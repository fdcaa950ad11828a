"""Other first layers: what is kept of the pretrained weights, and what the network then sees."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.classifier import build_classifier

pytestmark = pytest.mark.backend

# backbone → first convolution, side of its kernel before, side of the feature map of an image of 32 px before and after
SMALL = {
    "resnet18": ("stem_conv", 7, 1, 4),
    "alexnet": ("conv1", 11, None, 1),
    "mobilenet_v2": ("Conv1", 3, 1, 2),
    "vgg16": ("block1_conv1", 3, 1, 1),
    "efficientnet_lite0": ("stem", 3, 1, 2),
}


def saved(name, path, **more):
    model = build_classifier(name, 3, weights="none", seed=1, **more)
    model.save(path)
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "resnet18" else [pytest.mark.exhaustive]) for name in SMALL]
)
def test_small_image_keeps_the_middle_of_the_kernel_and_the_size_of_the_image(name, tmp_path):
    layer, kernel, before, after = SMALL[name]
    whole = saved(name, tmp_path / "whole.keras", image_size=32 if before else 64)
    small = build_classifier(name, 3, weights=tmp_path / "whole.keras", image_size=32, stem="small_image")
    old, new = whole.get_layer(layer), small.get_layer(layer)
    edge = (kernel - 3) // 2
    middle = np.asarray(old.get_weights()[0])[edge : edge + 3, edge : edge + 3]
    np.testing.assert_array_equal(new.get_weights()[0], middle)
    assert new.output.shape[1:3] == (32, 32)
    if before:
        assert whole.get_layer("pool").input.shape[1] == before
    assert small.get_layer("pool").input.shape[1] == after
    for other in small.layers:  # all else is as it was
        if other.name not in (layer, "logits") and other.weights:
            for a, b in zip(other.get_weights(), whole.get_layer(other.name).get_weights()):
                np.testing.assert_array_equal(a, b)


@pytest.mark.exhaustive
def test_after_a_large_kernel_the_pooling_becomes_two_by_two(tmp_path):
    saved("alexnet", tmp_path / "whole.keras", image_size=64)
    model = build_classifier("alexnet", 3, weights=tmp_path / "whole.keras", image_size=32, stem="small_image")
    assert model.get_layer("conv1_pool").pool_size == (2, 2)
    assert model.get_layer("conv1_pool").output.shape[1:3] == (16, 16)


def test_one_channel_gives_what_a_repeated_grey_image_gave():
    """Exactly so where the three channels are scaled alike, as here."""
    model = build_classifier("efficientnet_lite0", 3, image_size=64, channels=1, seed=1)
    one = build_classifier("efficientnet_lite0", 3, image_size=64, channels=1, stem="one_channel", seed=1)
    grey = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.float32)
    expected = model.predict_on_batch(grey)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(one.predict_on_batch(grey), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert one.count_params() < model.count_params()


@pytest.mark.parametrize("stem", ["small_image", "one_channel"])
def test_it_is_an_ordinary_model_of_keras(stem, tmp_path):
    model = build_classifier("resnet18", 3, image_size=32, channels=1, weights="none", stem=stem)
    model.save(tmp_path / "a.keras")
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    again = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(again.predict_on_batch(grey), model.predict_on_batch(grey), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_is_one_line():
    with pytest.raises(UserError, match=r"one_channel is for grey images; set data\.color: grey"):
        build_classifier("tiny", 3, weights="none", stem="one_channel")
    with pytest.raises(UserError, match="at least 16 px"):
        build_classifier("resnet18", 3, image_size=8, weights="none", stem="small_image")
    with pytest.raises(UserError, match="stem"):
        build_classifier("tiny", 3, weights="none", stem="smal_image")
