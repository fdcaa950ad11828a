"""A Keras model of the caller's as the backbone of a classifier."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_transfer as kt

pytestmark = pytest.mark.backend

X = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
Y = np.arange(20) % 2


def network(size=(None, None), scales=False, top=None):
    """Layers named like those of a classifier, which must not be taken for its head."""
    x = inputs = keras.Input((*size, 3))
    if scales:
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="pool")(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    return keras.Model(inputs, x if top is None else top(x), name="my net")


def test_it_trains_and_is_loaded_without_the_model(tmp_path):
    model = network()
    clf = kt.Classifier(model, ["a", "b"], image_size=16, preprocessing="tf")
    pixels = X[:2].astype(np.float32)
    features = keras.ops.convert_to_numpy(model(pixels / 127.5 - 1)).mean(axis=(1, 2))
    np.testing.assert_allclose(clf.embed(X[:2]), features, atol=1e-5)  # its own weights and preprocessing
    before = model.get_weights()
    clf.fit(X, Y, phases=[kt.Phase("head", epochs=1), kt.Phase("last 1 groups", epochs=1)], verbose=False)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)  # the caller's model is copied
    clf.save(tmp_path / "own.keras")
    loaded = kt.load(tmp_path / "own.keras")
    assert loaded.predict(X[0]).probabilities == pytest.approx(clf.predict(X[0]).probabilities, abs=1e-5)
    loaded.fit((X, Y), kt.Phase("all", epochs=1), verbose=False)


def test_the_size_and_preprocessing_that_it_has_are_used():
    clf = kt.Classifier(network((24, 20), scales=True), ["a", "b"])
    assert clf.model.input_shape[1:3] == (24, 20)
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
    assert kt.Classifier(flat, ["a", "b"]).embed(X[0]).shape == (192,)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: kt.Classifier(network(), ["a", "b"]), "preprocessing= 'none'"),
        (lambda: kt.Classifier(network(), ["a", "b"], preprocessing="tff"), "did you mean 'tf'"),
        (lambda: kt.Classifier(network((16, 16), True), ["a", "b"], image_size=20), "takes images of 16 x 16"),
        (lambda: kt.Classifier("tiny", ["a", "b"], weights="none", preprocessing="tf"), "that of 'tiny' is known"),
        (lambda: kt.Classifier(keras.layers.Dense(3), ["a", "b"]), "expected a name or a keras.Model"),
        (lambda: kt.Classifier(keras.Sequential([keras.layers.Flatten()]), ["a", "b"]), "not built"),
        (
            lambda: kt.Classifier(
                network((8, 8), True, lambda x: keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))),
                ["a", "b"],
            ),
            "ends in a softmax",
        ),
        (lambda: kt.Classifier(network(scales=True, top=lambda x: [x, x]), ["a", "b"]), "one input and one output"),
    ],
)
def test_what_cannot_be_a_backbone_is_one_line(make, says):
    with pytest.raises(kt.UserError, match=says):
        make()


PLUGIN = """
import keras
from keras_transfer.models.backbones import Backbone
from keras_transfer.models.preprocessing import TF


@keras.saving.register_keras_serializable("plug_in_of_a_test")
class Halved(keras.layers.Layer):
    def call(self, x):
        return x / 2


def build(shape, weights):
    x = keras.Input(shape)
    return keras.Model(x, Halved(name="halved")(keras.layers.Conv2D(4, 3, name="conv")(x)))


HALVED = Backbone(name="halved", family="halved", build=build, preprocessing=TF, image_size=16, min_size=4, groups=None,
                  licence="MIT", source="nowhere", weights=("none",))
"""


def test_the_layers_of_an_installed_package_are_loaded_without_custom_objects(tmp_path, monkeypatch):
    from keras_transfer.models.backbones import BACKBONES
    from keras_transfer.safety import Refused

    (tmp_path / "plug_in_of_a_test.py").write_text(PLUGIN)
    facts = tmp_path / "plug_in_of_a_test-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_in_of_a_test\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[keras_transfer.backbones]\nhalved = plug_in_of_a_test:HALVED\n")
    with monkeypatch.context() as installed:
        installed.syspath_prepend(tmp_path)
        vars(BACKBONES).pop("_entry_points", None)
        clf = kt.Classifier("halved", ["a", "b"], image_size=16, weights="none")
        clf.save(tmp_path / "halved.keras")
        found = kt.load(tmp_path / "halved.keras")
        assert found.predict(X[0]).probabilities == pytest.approx(clf.predict(X[0]).probabilities, abs=1e-6)
    vars(BACKBONES).pop("_entry_points", None)
    with pytest.raises(Refused, match="custom_objects"):  # where it is not installed
        kt.load(tmp_path / "halved.keras")
