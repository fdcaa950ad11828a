"""Grafting: the same function, made of public layers with stable names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.models.backbones import get
from keras_transfer.models.graph import flat_layers, graft, stable_names
from keras_transfer.models.initial import draw_initial_weights, without_drawing

pytestmark = pytest.mark.backend


def assert_same_function(stock: keras.Model, side: int, shake) -> keras.Model:
    shake(stock)
    inputs = keras.Input((side, side, 3))
    flat = keras.Model(inputs, graft(stock, inputs))
    pixels = np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)
    expected = stock.predict_on_batch(pixels)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(flat.predict_on_batch(pixels), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert all(isinstance(op, keras.layers.Layer) for op in flat.operations)
    return flat


def test_bare_operations_become_layers(shake):
    with without_drawing():
        stock = keras.applications.MobileNetV3Small(
            weights=None, include_top=False, input_shape=(32, 32, 3), include_preprocessing=False
        )
    draw_initial_weights(stock.layers, 0)
    assert not all(isinstance(op, keras.layers.Layer) for op in stock.operations)
    assert_same_function(stock, 32, shake)


def test_private_layers_become_public_ones(shake):
    """ConvNeXt's and Inception-ResNet's own layer classes and nested models, in one small network."""
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    inputs = keras.Input((8, 8, 3))
    stem = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.LayerNormalization()], name="stem")
    x = stem(inputs)
    y = LayerScale(1e-6, 4, name="layer_scale")(x)
    stock = keras.Model(inputs, keras.layers.ReLU()(CustomScaleLayer(0.17)([keras.ops.add(x, y), y])))
    flat = assert_same_function(stock, 8, shake)
    assert all(type(layer) is getattr(keras.layers, type(layer).__name__) for layer in flat.layers)
    assert [la.name for la in flat.layers if "scale" in la.name] == [
        "layer_scale",
        "custom_scale_layer_scale",
        "custom_scale_layer_add",
    ]


def test_efficientnet_preprocessing_equals_that_of_the_imagenet_weights(monkeypatch, tmp_path, shake):
    """Stock EfficientNet scales once more only with weights="imagenet"; the record must do so with any weights."""
    from keras.src.applications import efficientnet
    from keras.src.utils import file_utils

    monkeypatch.setattr(efficientnet, "DEFAULT_BLOCKS_ARGS", efficientnet.DEFAULT_BLOCKS_ARGS[:1])  # to be quick
    with without_drawing():
        stock = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    draw_initial_weights(stock.layers, 0)
    shake(stock)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    norm = next(layer for layer in stock.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([mean, std, np.array(0)])  # "variance" in the published file is the standard deviation
    weights = tmp_path / "b0.weights.h5"
    stock.save_weights(weights)
    monkeypatch.setattr(file_utils, "get_file", lambda *a, **k: str(weights))

    published = keras.applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(32, 32, 3))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    expected = published.predict_on_batch(pixels)
    record = get("efficientnet_b0")
    for source in ("imagenet", str(weights)):
        ours = record.build((32, 32, 3), source).predict_on_batch(record.preprocessing.array(pixels))
        np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max())


def test_shared_layers_stay_shared(shake):
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="dense_here")
    stock = keras.Model(inputs, dense(dense(inputs)))
    shake(stock)
    new = keras.Input((4,))
    flat = keras.Model(new, graft(stock, new))
    assert len([layer for layer in flat.layers if layer.weights]) == 1
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(flat.predict_on_batch(x), stock.predict_on_batch(x), rtol=1e-5)


def test_other_operations_are_kept():
    inputs = keras.Input((4,))
    stock = keras.Model(inputs, keras.ops.multiply(keras.ops.flip(inputs, axis=-1), 2.0))
    new = keras.Input((4,))
    flat = keras.Model(new, graft(stock, new))
    x = np.arange(4, dtype=np.float32)[None]
    np.testing.assert_allclose(flat.predict_on_batch(x), x[:, ::-1] * 2)


def test_stable_names_count_from_the_first():
    keras.layers.Dense(1)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4)(inputs)
    x = keras.layers.Dense(4)(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="mine")(x))
    found = stable_names(model).values()
    assert list(found) == ["input_layer", "dense", "dense_1", "mine"]


def test_the_original_is_left_as_it_was():
    inputs = keras.Input((4,))
    stock = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    before = stock.layers[1]
    new = keras.Input((4,))
    graft(stock, new)
    assert stock.layers[1] is before and len(before._inbound_nodes) == 1


def test_nested_models_are_walked():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.layers.Dense(3, name="inner")])
    model = keras.Model(inputs, keras.layers.Dense(2, name="outer")(inner(inputs)))
    assert [layer.name for layer in flat_layers(model) if layer.weights] == ["inner", "outer"]


def test_random_layers_get_a_seed_of_their_own():
    inputs = keras.Input((64,))
    stock = keras.Model(inputs, keras.layers.Dropout(0.5, name="drop")(inputs))
    new = keras.Input((64,))
    seeds = []
    for seed in (0, 0, 1):
        model = keras.Model(new, graft(stock, new, seed=seed))
        seeds.append(model.get_layer("drop").seed)
    assert seeds[0] == seeds[1] != seeds[2]
