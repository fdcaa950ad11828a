"""keras-hub presets: a small random one, written to a folder, takes the whole path up to the download."""

from __future__ import annotations

import builtins
import json
import sys

import keras
import numpy as np
import pytest

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.models import bundle
from keras_transfer.models.backbones import get
from keras_transfer.models.backbones import hub as hub_module
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train
from keras_transfer.models.groups import layer_groups

pytestmark = pytest.mark.backend

SCALE = [1 / 58.0, 1 / 57.0, 1 / 56.0]
OFFSET = [-2.1, -2.0, -1.8]
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def resnet(keras_hub):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


@pytest.fixture(scope="module")
def preset(keras_hub, resnet, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("preset")
    resnet.save_to_preset(str(folder))
    converter = keras_hub.layers.ResNetImageConverter(image_size=(64, 64), scale=SCALE, offset=OFFSET)
    converter.save_to_preset(str(folder))
    return f"hub:{folder}"


@pytest.mark.slow
def test_record_takes_preprocessing_and_size_from_the_preset(preset):
    record = get(preset)
    assert record.name == preset and record.family == "ResNet" and record.image_size == 64
    np.testing.assert_allclose(record.preprocessing.scale, SCALE)
    np.testing.assert_allclose(record.preprocessing.offset, OFFSET)


@pytest.mark.slow
def test_features_equal_the_presets_own(preset, resnet):
    model = build_classifier(preset, 3, weights="imagenet")
    expected = resnet.predict(PIXELS * np.array(SCALE, np.float32) + np.array(OFFSET, np.float32), verbose=0)
    features = keras.Model(model.input, model.get_layer("pool").input).predict(PIXELS, verbose=0)
    assert model.input_shape == (None, 64, 64, 3)
    np.testing.assert_allclose(features, expected, atol=1e-3 * np.abs(expected).max())


def test_groups_freezing_and_the_model_file(preset, tmp_path):
    model = build_classifier(preset, 3, 32, weights="none")
    groups = layer_groups(model, preset)
    assert len(groups) >= 2 and sum(len(layers) for _, layers in groups) > 10
    counts = apply_train(model, preset, "last 1 groups")
    assert 0 < counts.trainable < counts.frozen + counts.trainable
    bundle.save(model, tmp_path / "hub.keras", {"classes": ["a", "b", "c"]}, PIXELS[:, :32, :32])
    loaded, facts = bundle.load(tmp_path / "hub.keras")
    assert set(facts["requires"]) <= {"keras_hub"} and loaded.output_shape == (None, 3)


def test_weights_file(preset, resnet, tmp_path):
    path = tmp_path / "resnet.weights.h5"
    resnet.save_weights(path)
    model = build_classifier(preset, 3, weights=path)
    stem = next(la for la in resnet.layers if isinstance(la, keras.layers.Conv2D))
    mine = next(la for la in model.layers if isinstance(la, keras.layers.Conv2D))
    np.testing.assert_array_equal(mine.get_weights()[0], stem.get_weights()[0])


def test_preprocessing_that_cannot_be_built_in_is_refused(preset, keras_hub, monkeypatch):
    class Special(keras_hub.layers.ImageConverter):
        def call(self, inputs):
            return inputs

    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", lambda preset: Special())
    with pytest.raises(UserError, match=r"Special.* cannot be built into the model"):
        get(preset)


def test_preprocessing_of_one_number_and_of_none(keras_hub):
    plain = keras_hub.layers.ImageConverter(scale=0.5)
    mode = hub_module._preprocessing("hub:x", keras_hub, plain)
    assert mode.scale == (0.5, 0.5, 0.5) and mode.offset == (0.0, 0.0, 0.0)
    nothing = hub_module._preprocessing("hub:x", keras_hub, keras_hub.layers.ImageConverter())
    assert nothing.scale == (1.0, 1.0, 1.0)
    with pytest.raises(UserError, match="2 channels"):
        hub_module._channels("hub:x", [1.0, 2.0])


def test_token_features_are_refused():
    inputs = keras.Input((32, 32, 3))
    tokens = keras.layers.Reshape((64, 48))(inputs)
    with pytest.raises(UserError, match=r"2-dimensional features \(64, 48\)"):
        hub_module._feature_map("hub:x", keras.Model(inputs, tokens), (32, 32, 3))
    with pytest.raises(UserError, match="one image input and one output"):
        hub_module._feature_map("hub:x", keras.Model(inputs, [tokens, inputs]), (32, 32, 3))
    with pytest.raises(UserError, match="does not accept images of"):
        hub_module._feature_map("hub:x", keras.Model(inputs, tokens), (16, 16, 3))


def test_failed_download_says_what_to_do(keras_hub, monkeypatch):
    def refuse(preset):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", refuse)
    with pytest.raises(UserError, match="cannot load the keras-hub preset 'resnet_18_imagenet': no route to host") as e:
        get("hub:resnet_18_imagenet")
    assert "efficientnet_lite0" in str(e.value) and "\n" not in str(e.value)


def test_unknown_folder(keras_hub):
    with pytest.raises(UserError, match=r"cannot load the keras-hub preset '\./no/such/folder'"):
        get("hub:./no/such/folder")


def test_missing_package(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "keras_hub":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r'pip install "keras_transfer\[hub\]"'):
        get("hub:resnet_18_imagenet")


@pytest.mark.parametrize("architecture", ["densenet121", "efficientnetv2_rw_t"])
def test_what_keras_hub_converts_wrongly_is_refused(architecture, keras_hub, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture, "num_features": 8}))
    with pytest.raises(UserError, match=f"{architecture} to a network with other features.*without keras-hub") as error:
        get(f"hub:{tmp_path}")
    assert "\n" not in str(error.value)


def test_a_preset_without_image_preprocessing_is_one_line(keras_hub, tmp_path):
    config = {"model_type": "vit", "architectures": ["ViTModel"], "image_size": 32, "patch_size": 16, "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="knows no image preprocessing") as error:
        get(f"hub:{tmp_path}")
    assert "\n" not in str(error.value)
