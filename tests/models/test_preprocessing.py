"""Preprocessing: equal to what keras.applications does to the same pixels."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest

from keras_transfer.models import preprocessing
from keras_transfer.models.backbones import BACKBONES
from keras_transfer.models.initial import without_drawing
from keras_transfer.models.preprocessing import CAFFE, LITE, TF, TF_128, TORCH, Preprocessing

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.float32)

# Families whose preprocessing keras.applications publishes as a function of its own.
MODULES = {
    "ResNet": "resnet",
    "ResNetV2": "resnet_v2",
    "VGG": "vgg16",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "DenseNet": "densenet",
    "Inception": "inception_v3",
    "Inception-ResNet": "inception_resnet_v2",
    "Xception": "xception",
    "NASNet": "nasnet",
}
# Families that do it inside of the model, where their preprocess_input does nothing.
INSIDE = {"EfficientNet", "EfficientNetV2", "ConvNeXt", "MobileNetV3"}


def run(mode: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    image = keras.Input(pixels.shape[1:])
    return keras.Model(image, mode.layers(image)).predict_on_batch(pixels)


def test_every_family_of_keras_applications_is_compared():
    families = {record.family for record in BACKBONES.values() if "keras.applications" in record.source}
    assert families == {*MODULES, *INSIDE}


@pytest.mark.parametrize("family", MODULES)
def test_equals_keras_applications(family):
    reference = importlib.import_module(f"keras.applications.{MODULES[family]}").preprocess_input(PIXELS.copy())
    for record in BACKBONES.values():
        if record.family == family:
            np.testing.assert_allclose(record.preprocessing.array(PIXELS), reference, atol=2e-5)


@pytest.mark.parametrize("mode", [CAFFE, TF, TORCH, TF_128, LITE], ids=lambda mode: mode.name)
def test_layers_equal_array(mode):
    np.testing.assert_allclose(run(mode, PIXELS), mode.array(PIXELS), atol=2e-5)


def test_formulas():
    np.testing.assert_allclose(LITE.array(PIXELS), (PIXELS - 127) / 128, atol=1e-6)
    np.testing.assert_allclose(TF_128.array(PIXELS), PIXELS / 128 - 1, atol=1e-6)
    mean, std = np.array(preprocessing.IMAGENET_MEAN), np.array(preprocessing.IMAGENET_STD)
    np.testing.assert_allclose(TORCH.array(PIXELS), (PIXELS / 255 - mean) / std, atol=1e-5)


def test_mobilenet_v3_equals_its_inner_rescaling():
    with without_drawing():
        inner = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(32, 32, 3)).layers[1]
    assert isinstance(inner, keras.layers.Rescaling)
    np.testing.assert_allclose(TF.array(PIXELS), PIXELS * inner.scale + inner.offset, atol=1e-5)
    assert BACKBONES["mobilenet_v3_small"].preprocessing is TF


@pytest.mark.parametrize(
    ("constructor", "name"), [("EfficientNetV2B0", "efficientnet_v2_b0"), ("EfficientNetV2S", "efficientnet_v2_s")]
)
def test_efficientnet_v2_equals_its_inner_layers(constructor, name, monkeypatch):
    from keras.src.applications import efficientnet_v2

    short = {key: blocks[:1] for key, blocks in efficientnet_v2.DEFAULT_BLOCKS_ARGS.items()}
    monkeypatch.setattr(efficientnet_v2, "DEFAULT_BLOCKS_ARGS", short)  # to be quick
    stock = getattr(keras.applications, constructor)(weights=None, include_top=False, input_shape=(32, 32, 3))
    inner = [la for la in stock.layers if isinstance(la, (keras.layers.Rescaling, keras.layers.Normalization))]
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    reference = keras.Model(stock.input, inner[-1].output).predict_on_batch(pixels)
    np.testing.assert_allclose(BACKBONES[name].preprocessing.array(pixels), reference, atol=1e-5)


def test_convnext_equals_its_inner_normalization():
    mean = np.array([0.485, 0.456, 0.406]) * 255
    variance = (np.array([0.229, 0.224, 0.225]) * 255) ** 2
    inner = keras.layers.Normalization(mean=mean, variance=variance)
    reference = keras.ops.convert_to_numpy(inner(PIXELS))
    np.testing.assert_allclose(BACKBONES["convnext_tiny"].preprocessing.array(PIXELS), reference, atol=1e-4)


def test_unknown_channel_order_is_refused():
    with pytest.raises(ValueError, match="channel_order"):
        Preprocessing("x", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "grb")
