"""Installing on any backend is safe: the model predicts, trains, saves and clones as before."""

import keras
import numpy as np
import pytest

from keras_transfer.engine import native

pytestmark = pytest.mark.backend

TORCH = keras.backend.backend() == "torch"


def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def images(n=8):
    return np.random.default_rng(0).standard_normal((n, 16, 16, 3)).astype("float32")


def test_install_reports_what_it_did():
    model = small_model()
    calls = [layer.call for layer in model.layers]
    report = native.install(model)
    assert report.backend == keras.backend.backend()
    if TORCH:
        assert report.count == 2
        assert report.fused == {"Conv2D+BatchNormalization+ReLU": 1}
        assert "1 BatchNormalization, 1 Conv2D; 1 fused" in str(report)
        assert native.remove(model) == 2
    else:  # on jax only 1x1 and depthwise convolutions gain
        assert report.count == 0
        assert not report.patched
        assert not report.left_alone
        assert ("nothing to do" if report.backend == "tensorflow" else "no layer") in str(report)
        assert native.remove(model) == 0
    assert [layer.call for layer in model.layers] == calls


def test_predictions_do_not_change():
    model = small_model()
    expected = model.predict(images(), verbose=0)
    native.install(model)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_installing_twice_is_installing_once():
    model = small_model()
    first, second = native.install(model), native.install(model)
    assert first == second
    native.remove(model)
    assert all("call" not in layer.__dict__ for layer in model.layers)


def test_the_saved_file_and_the_clone_are_plain_keras(tmp_path):
    model, plain = small_model(), small_model()
    config = plain.get_config()
    plain.save(tmp_path / "plain.keras")
    native.install(model)
    model.save(tmp_path / "native.keras")
    loaded = keras.models.load_model(tmp_path / "native.keras")
    clone = keras.models.clone_model(model)
    for each in (loaded, clone):
        assert "call" not in each.__dict__
        assert all("call" not in layer.__dict__ for layer in each.layers)
    assert [layer["config"]["name"].split("_")[0] for layer in model.get_config()["layers"]] == [
        layer["config"]["name"].split("_")[0] for layer in config["layers"]
    ]
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        loaded.predict(images(), verbose=0), model.predict(images(), verbose=0), rtol=1e-5, atol=1e-6
    )


def test_fit_ends_at_the_same_weights():
    weights = []
    for installed in (False, True):
        model = small_model()
        if installed:
            native.install(model)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        model.fit(images(), np.arange(8) % 4, epochs=2, batch_size=4, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
