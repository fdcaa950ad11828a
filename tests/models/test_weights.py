"""Weights from files, and downloads that fail."""

from __future__ import annotations

import socket
import time
from urllib.error import URLError
from urllib.request import urlopen

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.initial import without_drawing
from keras_transfer.models.weights import downloading, load_weights

pytestmark = pytest.mark.backend


def tiny(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return get("tiny").build((32, 32, 3), "none")


def assert_equal_weights(a, b):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", ["tiny.weights.h5", "tiny.keras"])
def test_file_of_the_same_backbone(tmp_path, name):
    saved, fresh = tiny(0), tiny(1)
    path = tmp_path / name
    saved.save_weights(path) if name.endswith(".weights.h5") else saved.save(path)
    load_weights(fresh, path)
    assert_equal_weights(saved, fresh)


def test_backbone_out_of_a_saved_classifier(tmp_path):
    trained = build_classifier("tiny", 5, weights="none", seed=1)
    trained.save(tmp_path / "trained.keras")
    model = build_classifier("tiny", 3, weights=tmp_path / "trained.keras", seed=2)
    for layer in ("stem_conv", "block2_bn"):
        np.testing.assert_array_equal(
            model.get_layer(layer).get_weights()[0], trained.get_layer(layer).get_weights()[0]
        )
    assert model.output_shape == (None, 3)


def test_converted_layers_of_a_saved_classifier(tmp_path):
    """MobileNetV3's classifier file has other layers than the stock model; the weights still fit."""
    trained = build_classifier("mobilenet_v3_small", 2, 32, weights="none", seed=1)
    trained.save(tmp_path / "trained.keras")
    model = build_classifier("mobilenet_v3_small", 2, 32, weights=tmp_path / "trained.keras", seed=2)
    np.testing.assert_array_equal(
        model.get_layer("conv_1").get_weights()[0], trained.get_layer("conv_1").get_weights()[0]
    )


def test_real_mobilenet_v2(shared_weights):
    path = shared_weights / "mobilenet_v2_notop.weights.h5"
    if not path.is_file():
        pytest.skip("needs shared/weights/mobilenet_v2_notop.weights.h5")
    model = build_classifier("mobilenet_v2", 10, 64, weights=path)
    with without_drawing():
        stock = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    stock.load_weights(path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    expected = stock.predict_on_batch(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()))
    features = keras.Model(model.input, model.get_layer("out_relu").output).predict_on_batch(pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(features, expected, atol=1e-3)


def other(width: int = 8, extra: bool = False) -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(width, 3, use_bias=False, name="first")(inputs)
    if extra:
        x = keras.layers.Conv2D(width, 1, name="second")(x)
    return keras.Model(inputs, x, name="other")


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize(
    ("written", "message"),
    [
        (other(4), r"layer first expects shapes \[\(3, 3, 3, 8\)\].*\(3, 3, 3, 4\)"),
        (other(extra=True), "(also has weights for conv2d_1|has 1 layers with weights, the file has 2)"),
    ],
    ids=["shape", "too much"],
)
def test_another_architecture_is_refused(tmp_path, written, message, suffix):
    path = tmp_path / f"other{suffix}"
    written.save_weights(path) if suffix == ".weights.h5" else written.save(path)
    with pytest.raises(UserError, match=message):
        load_weights(other(), path)


def test_a_file_with_too_little_is_refused(tmp_path):
    other().save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(UserError, match="layer second has no weights in the file"):
        load_weights(other(extra=True), tmp_path / "small.weights.h5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.weights.h5", b"not hdf5", "not a readable HDF5 file"),
        ("a.keras", b"not a zip", "not a Keras model file"),
        ("a.bin", b"", "expected a name that ends in"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_weights(tiny(0), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_hdf5_file_without_weights(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(UserError, match="cannot load weights file"):
        load_weights(tiny(0), tmp_path / "a.h5")


def test_missing_file():
    with pytest.raises(UserError, match=r"does not exist \(weights: imagenet, none or the path"):
        build_classifier("mobilenet_v3_small", 2, 32, weights="imagenett")


def test_lite_checkpoint_of_another_network(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="does not fit efficientnet_lite0: layer stem "):
        build_classifier("efficientnet_lite0", 2, 32, weights=tmp_path / "a.pth")
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"layer stem .*conv_stem\.weight"):
        build_classifier("efficientnet_lite0", 2, 32, weights=tmp_path / "b.pth")


def test_lite_accepts_its_own_keras_weights(tmp_path):
    with without_drawing():
        saved = get("efficientnet_lite0").build((32, 32, 3), "imagenet")
        saved.save_weights(tmp_path / "lite.weights.h5")
        loaded = get("efficientnet_lite0").build((32, 32, 3), str(tmp_path / "lite.weights.h5"))
    assert_equal_weights(saved, loaded)


def test_no_network_says_what_to_do(monkeypatch, tmp_path):
    from keras.src.utils import file_utils

    def refuse(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(keras.config, "keras_home", lambda: str(tmp_path), raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path), raising=False)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        build_classifier("mobilenet_v3_small", 2, 32, weights="imagenet")
    message = str(caught.value)
    assert "cannot download the ImageNet weights of mobilenet_v3_small" in message and "\n" not in message
    assert "efficientnet_lite0" in message and "weights none" in message and "path" in message
    assert time.monotonic() - start < 60


def test_a_silent_server_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(UserError, match="cannot download the ImageNet weights of x"), downloading("x", seconds=0.3):
            urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/file")
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_a_wrong_checksum_is_the_users_to_fix_and_a_bug_is_not():
    with pytest.raises(UserError, match="corrupted"), downloading("x"):
        raise ValueError("Incomplete or corrupted file detected")
    with pytest.raises(TypeError), downloading("x"):
        raise TypeError("a bug")
