"""The classifier: input forms, head, seeds, weights that give the published network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get
from keras_transfer.models.classifier import build_classifier

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def tiny(**options) -> keras.Model:
    return build_classifier("tiny", 4, weights="none", **options)


def test_default_size_is_the_backbones():
    assert tiny().input_shape == (None, 32, 32, 3)


def test_uint8_and_float_pixels_give_the_same_logits():
    model = tiny(image_size=(32, 32))
    logits = model.predict_on_batch(PIXELS)
    assert logits.shape == (3, 4) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, model.predict_on_batch(PIXELS.astype(np.float32)), atol=1e-6)
    np.testing.assert_allclose(logits, model.predict(PIXELS, verbose=0), atol=1e-6)


def test_pixels_are_not_clipped_to_the_scaled_range():
    model = tiny()
    assert np.abs(model.predict_on_batch(PIXELS) - model.predict_on_batch(PIXELS // 255)).max() > 1e-3


def test_one_channel_is_three_equal_ones():
    grey, colour = tiny(channels=1), tiny()
    one = PIXELS[..., :1]
    assert grey.input_shape == (None, 32, 32, 1)
    assert [layer.name for layer in grey.layers][:3] == ["image", "grey_to_rgb", "preprocess"]
    logits = grey.predict_on_batch(one)
    np.testing.assert_allclose(logits, colour.predict_on_batch(np.repeat(one, 3, axis=-1)), atol=1e-6)


def test_rectangular_and_max_pooling():
    model = tiny(image_size=[16, 24], pooling="max")
    assert model.input_shape == (None, 16, 24, 3)
    assert isinstance(model.get_layer("pool"), keras.layers.GlobalMaxPooling2D)


def test_no_softmax_and_dropout_rate():
    model = tiny(dropout=0.5)
    assert model.get_layer("logits").activation is keras.activations.linear
    assert model.get_layer("dropout").rate == 0.5


def test_seed_decides_every_initial_weight():
    first, again, other = tiny(seed=3), tiny(seed=3), tiny(seed=4)
    for a, b in zip(first.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)
    for name in ("stem_conv", "block2_depthwise", "logits"):
        assert np.abs(first.get_layer(name).get_weights()[0] - other.get_layer(name).get_weights()[0]).max() > 0


def test_initial_weights_are_the_same_on_every_backend():
    """The values themselves: every backend must give these."""
    model = tiny(seed=0)
    kernels = [model.get_layer(name).get_weights()[0] for name in ("stem_conv", "block2_depthwise", "logits")]
    sums = [float(np.abs(kernel.astype(np.float64)).sum()) for kernel in kernels]
    np.testing.assert_allclose(sums, EXPECTED_SUMS, rtol=1e-6)


EXPECTED_SUMS = [24.061240298266057, 14.097135436721146, 25.932743758428842]


def test_layer_names_do_not_depend_on_what_was_built_before():
    keras.layers.Activation("relu"), keras.layers.ReLU()
    first = [layer.name for layer in build_classifier("mobilenet_v3_small", 2, 32, weights="none").layers]
    keras.layers.Activation("relu"), keras.layers.ReLU(), keras.layers.Add()
    second = [layer.name for layer in build_classifier("mobilenet_v3_small", 2, 32, weights="none").layers]
    assert first == second and "re_lu" in first


def test_global_policy_does_not_reach_the_backbone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        features = get("tiny").build((32, 32, 3), "none")
        model = tiny()
    finally:
        keras.config.set_dtype_policy("float32")
    assert features.layers[1].compute_dtype == "bfloat16"  # built as Keras would
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone_name": "tinny"}, "did you mean 'tiny'"),
        ({"n_classes": 1}, "at least 2 classes, got 1"),
        ({"channels": 4}, "expected 1 .grey. or 3"),
        ({"pooling": "mean"}, "unknown pooling 'mean'"),
        ({"dropout": 1.0}, "0 <= dropout < 1, got 1.0"),
        ({"image_size": 4}, "at least 8 px"),
        ({"image_size": (32, 32, 3)}, "expected one number or"),
        ({"weights": "imagenet"}, "no weights 'imagenet'"),
        ({"weights": "missing.weights.h5"}, "does not exist"),
    ],
)
def test_bad_arguments_are_the_users_to_fix(options, message):
    arguments = {"backbone_name": "tiny", "n_classes": 4, "weights": "none", **options}
    with pytest.raises(UserError, match=message):
        build_classifier(**arguments)


def test_channels_first_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(UserError, match="channels_last"):
        tiny()
