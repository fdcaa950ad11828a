"""Cutting a model at the top of what is frozen and always the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.engine.prefix import find_cut
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytestmark = pytest.mark.backend


def classifier(train, **more):
    model = build_classifier("mobilenet_v2", 3, image_size=32, weights="none", **more)
    apply_train(model, "mobilenet_v2", train)
    return model


@pytest.mark.parametrize(("train", "where"), [("head", "pool"), (["block_16_*", "Conv_1*"], "block_15_add")])
def test_the_cut_is_as_high_as_it_can_be_and_changes_nothing(train, where):
    model = classifier(train)
    cut = find_cut(model)
    assert cut.name == where
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    features = cut.prefix.predict(images, verbose=0)
    assert features.shape[1:] == cut.shape
    whole, halves = model.predict(images, verbose=0), cut.suffix.predict(features, verbose=0)
    np.testing.assert_allclose(whole, halves, rtol=1e-4, atol=1e-5)
    assert not cut.prefix.trainable_variables
    assert len(cut.suffix.trainable_variables) == len(model.trainable_variables)


def test_inside_a_residual_block_one_tensor_does_not_separate():
    # The shortcut runs beside the frozen half of the block, so the cut lies below the block.
    assert find_cut(classifier(["block_15_project*", "block_16_*", "Conv_1*"])).name == "block_14_add"


def test_nothing_is_cut_where_everything_trains():
    assert find_cut(classifier("all")) is None


def test_random_layers_and_learning_statistics_end_the_prefix():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    x = keras.layers.Dropout(0.5, name="noise")(x)
    x = keras.layers.Conv2D(4, 3, name="second")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    model.get_layer("first").trainable = model.get_layer("second").trainable = False
    assert find_cut(model).name == "first"

    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="first")(image))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    model.get_layer("first").trainable = False
    assert find_cut(model).name == "first"
    model.get_layer("norm").trainable = False
    assert find_cut(model).name.startswith("flatten")


def test_models_of_another_form_are_left_alone():
    a, b = keras.Input((2,)), keras.Input((2,))
    assert find_cut(keras.Model([a, b], keras.layers.Add()([a, b]))) is None
