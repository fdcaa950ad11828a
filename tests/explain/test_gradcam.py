"""Grad-CAM against an independent computation in PyTorch, on every backend, and its arguments."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.explain import GradCam, gradcam
from tests.conftest import ROOT
from tests.explain.conftest import make_images, make_model

pytestmark = pytest.mark.backend


def correlations(a, b):
    return [float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) for one, other in zip(a, b)]


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("classes", [None, [0, 1, 2, 3, 1]])
def test_same_as_pytorch(pooling, classes, images):
    pytest.importorskip("torch")
    from tests.explain.torch_walk import gradcam_by_torch

    model = make_model(pooling)
    logits, expected = gradcam_by_torch(model, images, classes)
    np.testing.assert_allclose(model.predict_on_batch(images.astype(np.float32)), logits, atol=1e-3)
    maps = gradcam(model, images, classes)
    assert maps.shape == (5, 32, 40) and maps.dtype == np.float32
    assert maps.min() >= 0 and 0.5 < maps.max() <= 1
    visible = [i for i in range(5) if expected[i].any()]
    assert len(visible) >= 3
    assert min(correlations(maps[visible], expected[visible])) > 0.9999
    assert not maps[[i for i in range(5) if i not in visible]].any()


@pytest.mark.slow
def test_same_on_every_backend(backend, images, tmp_path):
    from keras_transfer.models.bundle import save
    from keras_transfer.runtime import child_environment, installed_backends

    other = next((name for name in installed_backends() if name != backend), None)
    if other is None:
        pytest.skip("only one backend is installed")
    model = make_model()
    save(model, tmp_path / "m.keras", {"classes": list("abcd")})
    program = (
        "import sys, numpy as np\nfrom keras_transfer.runtime import use_backend\nuse_backend()\n"
        "from keras_transfer.models.bundle import load\nfrom keras_transfer.explain import gradcam, occlusion\n"
        "model, _ = load(sys.argv[1])\nimages = np.load(sys.argv[2])\n"
        "np.savez(sys.argv[3], last=gradcam(model, images), early=gradcam(model, images, [0, 1, 2, 3, 0], 'block1_relu'),"
        " occlusion=occlusion(model, images[:2]))\n"
    )
    np.save(tmp_path / "x.npy", images)
    arguments = [str(tmp_path / name) for name in ("m.keras", "x.npy", "maps.npz")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **child_environment(other), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    from keras_transfer.explain import occlusion

    theirs = np.load(tmp_path / "maps.npz")
    mine = {
        "last": gradcam(model, images),
        "early": gradcam(model, images, [0, 1, 2, 3, 0], "block1_relu"),
        "occlusion": occlusion(model, images[:2]),
    }
    for name, maps in mine.items():
        shown = [i for i in range(len(maps)) if maps[i].any()]
        assert shown and min(correlations(maps[shown], theirs[name][shown])) > 0.999, name


def test_native_operations_change_nothing(model, images):
    from keras_transfer.engine.native import install, remove

    plain = gradcam(model, images)
    install(model, keep_memory=False)
    np.testing.assert_allclose(gradcam(model, images), plain, atol=1e-4)
    remove(model)


def test_does_not_change_the_model(model, images):
    before = [np.array(v) for v in model.get_weights()]
    trainable = [layer.trainable for layer in model.layers]
    gradcam(model, images)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert trainable == [layer.trainable for layer in model.layers]


def test_follows_the_weights_of_the_model(model, images):
    cam = GradCam(model)
    before = cam(images, 0)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([-kernel, bias])
    assert not np.allclose(cam(images, 0), before)


def test_shows_where_the_evidence_is():
    """The only channel is the brightness of the image, so the map must show the bright square."""
    import keras

    image = keras.Input((32, 32, 3), name="image")
    features = keras.layers.Conv2D(1, 4, strides=4, use_bias=False, name="features")(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(pooled))
    model.get_layer("features").set_weights([np.full((4, 4, 3, 1), 0.01)])
    model.get_layer("logits").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 4:12, 20:28] = 255
    found = gradcam(model, image, 0)[0]
    assert found[6:10, 22:26].min() > 0.9 and found[16:].max() == 0
    assert not gradcam(model, image, 1).any(), "brightness speaks against class 1"


def test_a_layer_that_other_paths_bypass(images):
    """A residual connection bypasses the layer, so the head also needs the image."""
    import keras

    image = keras.Input((32, 40, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    y = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="branch")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Add(name="sum")([x, y]))
    model = keras.Model(image, keras.layers.Dense(3, name="logits")(pooled))
    cam = GradCam(model, "branch")
    assert not cam.separates
    maps = cam(images, 1)
    # The head is linear, so the gradient is its column, uniform over the map.
    features = np.asarray(keras.Model(image, y).predict_on_batch(images.astype(np.float32)))
    expected = np.maximum(features @ model.get_layer("logits").get_weights()[0][:, 1], 0)
    expected /= np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-9)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer": "block1_rleu"}, "did you mean 'block1_relu'"),
        ({"layer": "logits"}, "no feature map"),
        ({"class_index": 4}, "expected 0..3"),
        ({"class_index": -1}, "expected 0..3"),
        ({"class_index": [0, 1]}, "expected one integer"),
        ({"class_index": 0.5}, "expected one integer"),
    ],
)
def test_bad_arguments(model, images, options, says):
    with pytest.raises(UserError, match=says):
        gradcam(model, images, **options)


def test_bad_images(model, images):
    with pytest.raises(UserError, match=r"\(n, 32, 40, channels\)"):
        gradcam(model, images[:, :30])
    assert gradcam(model, make_images(5)[:1], np.int64(2)).shape == (1, 32, 40)
