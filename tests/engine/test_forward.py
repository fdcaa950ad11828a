"""Predictions by OpenVINO: proved equal, kept under the digest of the model file, and needing no framework."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_transfer.engine import engine_files, forward
from keras_transfer.errors import UserError
from keras_transfer.inference.model import engine_of, start_engine
from keras_transfer.models import bundle
from keras_transfer.models.classifier import build_classifier
from keras_transfer.training.build import golden_images

pytest.importorskip("openvino")
pytestmark = pytest.mark.backend
ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("keras", "torch", "tensorflow", "jax", "scipy", "matplotlib", "pandas", "sklearn")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model file, its model, and one image."""
    folder = tmp_path_factory.mktemp("model")
    model = build_classifier("tiny", 3, image_size=32, weights="none")
    facts = {"classes": ["a", "b", "é"], "image_size": [32, 32], "color": "rgb", "resize": "crop", "backbone": "tiny"}
    bundle.save(model, folder / "model.keras", facts, golden_images((32, 32, 3)))
    pixels = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "one.png")
    return folder, model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def _fail(line):
    raise AssertionError(line)


@pytest.mark.parametrize("count", [1, 3, 16, 21])
def test_it_computes_the_models_logits_for_any_number_of_images(made, count):
    _, model = made
    engine = forward.fastest(model, {}, golden_images((32, 32, 3)), "openvino", _fail)
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    expected = np.asarray(model.predict_on_batch(images), np.float32)
    within = 1e-4 * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(engine.predict_on_batch(images), expected, rtol=0, atol=within)
    streamed = list(engine.predict_stream([images, images[:1], images]))
    assert [len(part) for part in streamed] == [count, 1, count]
    for part, wanted in zip(streamed, (expected, expected[:1], expected)):
        np.testing.assert_allclose(part, wanted, rtol=0, atol=within)


@pytest.mark.slow
def test_predict_imports_no_framework_and_prints_the_same(made, cache):
    """The first prediction makes the engine; with it, a new process imports no framework and answers the same."""
    folder, _ = made
    start_engine(folder / "model.keras", "auto", None, "cpu", _fail)
    assert len(list(cache.glob("*.npz"))) == 1
    program = (
        "import sys\n"
        f"watched = set({FRAMEWORKS!r})\n"
        "from keras_transfer.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(sorted(watched & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    found = {}
    for name, engine in (("kept", "auto"), ("framework", "native")):
        out = folder / f"{name}.json"
        asked = ["predict", folder / "model.keras", folder / "one.png", "--engine", engine, "--json", out]
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, asked)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[name] = json.loads(out.read_text("utf-8"))[0]["predictions"]
        assert (done.stderr.strip().splitlines()[-1] == "[]") == (name == "kept")
    assert [one["class"] for one in found["kept"]] == [one["class"] for one in found["framework"]]
    shares = [[one["probability"] for one in found[name]] for name in found]
    np.testing.assert_allclose(*shares, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_another_model_file_has_another_engine(made, cache):
    folder, model = made
    start_engine(folder / "model.keras", "auto", None, "cpu", _fail)
    digest = engine_files.digest_of(folder / "model.keras")
    assert engine_files.find(digest) is not None
    facts = {"classes": ["x", "y", "z"], "image_size": [32, 32], "color": "rgb", "resize": "crop", "backbone": "tiny"}
    bundle.save(model, cache / "model.keras", facts, golden_images((32, 32, 3)))
    assert engine_files.find(engine_files.digest_of(cache / "model.keras")) is None
    assert start_engine(cache / "model.keras", "auto", None, "cpu", _fail)[1]["classes"] == ["x", "y", "z"]


def test_the_engine_of_a_file_that_was_replaced_while_it_was_loaded_is_not_kept(made, cache):
    folder, model = made
    engine = engine_of(model, {}, folder / "model.keras", "openvino", "another digest", _fail)
    assert engine.name.startswith("OpenVINO") and not list(cache.glob("*.npz"))


def test_an_engine_that_is_damaged_or_open_to_others_is_not_used(made, cache):
    folder, _ = made
    start_engine(folder / "model.keras", "auto", None, "cpu", _fail)
    digest = engine_files.digest_of(folder / "model.keras")
    (file,) = cache.glob("*.npz")
    good = file.read_bytes()
    if os.name == "posix":
        for place, mode in ((file, 0o666), (cache, 0o777)):
            before = place.stat().st_mode
            place.chmod(mode)
            assert engine_files.find(digest) is None
            place.chmod(before)
        assert engine_files.find(digest) is not None
    for damaged in (good[: len(good) // 2], good[:-2000] + b"\0" * 1000 + good[-1000:], b"", b"PK"):
        file.write_bytes(damaged)
        engine = forward.without_framework(folder / "model.keras", "openvino", "cpu")
        assert engine is None
    kept = start_engine(folder / "model.keras", "auto", None, "cpu", _fail)[0]  # made again
    assert kept.name.startswith("OpenVINO") and engine_files.find(digest) is not None


def test_a_cache_that_cannot_be_written_only_means_that_nothing_is_kept(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "file"))
    engine, _ = start_engine(made[0] / "model.keras", "auto", None, "cpu", _fail)
    assert engine.name.startswith("OpenVINO")


def test_the_least_recently_used_engine_makes_room(made, cache, monkeypatch):
    start_engine(made[0] / "model.keras", "auto", None, "cpu", _fail)
    engine = engine_files.find(engine_files.digest_of(made[0] / "model.keras"))
    size = next(cache.glob("*.npz")).stat().st_size
    monkeypatch.setattr(engine_files, "LIMIT", int(2.5 * size))
    next(cache.glob("*.npz")).unlink()
    for number, digest in enumerate("abc"):
        assert engine_files.keep(digest, engine)
        os.utime(engine_files._path(digest), (number + 1, number + 1))
    assert engine_files.find("a") is None and engine_files.find("b") and engine_files.find("c")


def test_an_engine_that_computes_something_else_is_refused_in_one_line(made, cache, monkeypatch):
    _, model = made
    images = golden_images((32, 32, 3))

    class Other:
        def predict_on_batch(self, images):
            return np.asarray(model.predict_on_batch(images)) * 1.001 + 0.001

    monkeypatch.setattr(forward, "_compiled", lambda graph, weights: Other())
    said = []
    assert forward.fastest(model, {}, images, "auto", said.append, "digest") is model
    assert len(said) == 1 and "logits differ" in said[0]
    assert not list(cache.glob("*.npz"))
    with pytest.raises(UserError, match="cannot be used: its logits differ"):
        forward.fastest(model, {}, images, "openvino", said.append)


def test_a_layer_without_a_builder_is_named(made):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.UpSampling2D(interpolation="bilinear")(inputs)))
    model, said = keras.Model(inputs, outputs), []
    assert forward.fastest(model, {}, golden_images((8, 8, 3)), "auto", said.append) is model
    assert len(said) == 1 and "UpSampling2D" in said[0]


def test_without_openvino_the_backend_computes_and_it_is_said(made, cache, monkeypatch):
    monkeypatch.setattr(forward, "_installed", lambda: False)
    said = []
    engine, metadata = start_engine(made[0] / "model.keras", "auto", None, "cpu", said.append)
    assert isinstance(engine, keras.Model) and metadata["classes"] == ["a", "b", "é"]
    assert len(said) == 1 and "keras_transfer[cpu]" in said[0]
    with pytest.raises(UserError, match="needs the package 'openvino'"):
        start_engine(made[0] / "model.keras", "openvino", None, "cpu", said.append)


def test_wrong_choices_are_told(made):
    for engine, device, message in (
        ("fast", None, "engine"),
        ("openvino", "gpu", "on the cpu"),
        ("auto", "tpu", "device"),
    ):
        with pytest.raises(UserError, match=message):
            start_engine(made[0] / "model.keras", engine, None, device)
