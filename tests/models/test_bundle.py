"""The model file: plain Keras reads it, nothing is half written, damage is reported in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.models import backbones, bundle
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.precision import set_precision
from keras_transfer.models.preprocessing import CAFFE, TORCH
from keras_transfer.runtime import installed_backends

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
FACTS = {"classes": ["a", "b", "c", "ü"], "image_size": [32, 32], "color": "rgb", "backbone": "tiny"}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_classifier("tiny", 4, weights="none")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "model.keras"
    bundle.save(model, path, FACTS, PIXELS)
    return path


def test_round_trip(model, saved):
    loaded, facts = bundle.load(saved)
    np.testing.assert_allclose(loaded.predict_on_batch(PIXELS), model.predict_on_batch(PIXELS), atol=1e-5)
    assert {key: facts[key] for key in FACTS} == FACTS
    assert facts["backend"] == keras.backend.backend() and facts["versions"]["keras"] == keras.__version__
    assert facts["requires"] == [] and facts["created"].endswith("+00:00")
    assert bundle.read_metadata(saved) == facts


def test_members_are_keras_own_and_ours(saved):
    with zipfile.ZipFile(saved) as archive:
        members = set(archive.namelist())
        golden = np.load(archive.open("keras_transfer/golden.npz"))
        assert golden["images"].dtype == np.uint8 and golden["logits"].dtype == np.float32
    assert members == {"metadata.json", "config.json", "model.weights.h5", bundle.METADATA, bundle.GOLDEN}


@pytest.mark.slow
def test_optimizer_is_not_written_and_the_model_is_left_alone(tmp_path):
    model = build_classifier("tiny", 4, weights="none")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(PIXELS, np.arange(4), verbose=0)
    set_precision(model, "bfloat16")
    bundle.save(model, tmp_path / "m.keras", FACTS, PIXELS)
    assert model.compiled and model.get_layer("block1_conv").compute_dtype == "bfloat16"
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert "adam" not in archive.read("config.json").decode().lower()
        assert b"bfloat16" not in archive.read("config.json")
    loaded, _ = bundle.load(tmp_path / "m.keras")
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"} and not loaded.compiled


def test_without_golden_images(model, tmp_path):
    bundle.save(model, tmp_path / "sub" / "m.keras", FACTS)
    with zipfile.ZipFile(tmp_path / "sub" / "m.keras") as archive:
        assert bundle.GOLDEN not in archive.namelist()
    bundle.load(tmp_path / "sub" / "m.keras")


def test_a_save_that_fails_leaves_the_old_file(model, saved, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    path.write_bytes(saved.read_bytes())

    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(bundle.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="disk full"):
        bundle.save(model, path, FACTS, PIXELS)
    assert path.read_bytes() == saved.read_bytes() and [p.name for p in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [("m.h5", FACTS, "ends in .keras"), ("m.keras", {"classes": ["a"]}, "4 outputs"), ("m.keras", {}, "got None")],
)
def test_what_cannot_be_saved(model, tmp_path, name, facts, message):
    with pytest.raises(UserError, match=message):
        bundle.save(model, tmp_path / name, facts)
    assert not any(tmp_path.iterdir())


KEYS = {
    bundle.METADATA: "metadata",
    bundle.GOLDEN: "golden",
    "config.json": "keras_config",
    "model.weights.h5": "keras_weights",
    "metadata.json": "keras_metadata",
}


def rewritten(source, target, **members):
    """Copy an archive with some members replaced (None: left out)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = members.get(KEYS[name], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def fails(path) -> str:
    with pytest.raises(UserError) as caught:
        bundle.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be_loaded(model, saved, tmp_path):
    assert "does not exist" in fails(tmp_path / "none.keras")
    assert "is a folder" in fails(tmp_path)
    data = saved.read_bytes()
    (tmp_path / "cut.keras").write_bytes(data[: len(data) // 2])
    assert "damaged" in fails(tmp_path / "cut.keras")
    (tmp_path / "text.keras").write_text("hello")
    assert "not a Keras model file" in fails(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("x", "y")
    assert "zip archive but not a Keras" in fails(tmp_path / "other.keras")
    model.save(tmp_path / "plain.keras")
    assert "plain Keras file" in fails(tmp_path / "plain.keras")
    (tmp_path / "renamed.zip").write_bytes(data)
    assert "ends in .keras" in fails(tmp_path / "renamed.zip")


def test_damaged_members(saved, tmp_path):
    path = tmp_path / "m.keras"
    assert "damaged" in fails(rewritten(saved, path, metadata="{"))
    assert "damaged metadata" in fails(rewritten(saved, path, metadata="[]"))
    assert "got 2" in fails(rewritten(saved, path, metadata=json.dumps({"classes": ["a", "b"]})))
    assert "damaged" in fails(rewritten(saved, path, golden=b"junk"))
    assert "does not describe a model" in fails(rewritten(saved, path, keras_config="{}"))
    assert "not a readable HDF5 file" in fails(rewritten(saved, path, keras_weights=b"junk"))
    assert "image_size" in fails(rewritten(saved, path, metadata=json.dumps({**FACTS, "image_size": [32, "x"]})))


def test_metadata_of_any_kind_is_used_or_refused_in_a_line(saved, tmp_path):
    keys = {
        *FACTS,
        "classes",
        "image_size",
        "color",
        "resize",
        "depth",
        "task",
        "thresholds",
        "costs",
        "ranks",
        "novelty",
        "requires",
    }
    with zipfile.ZipFile(saved) as archive:
        facts = json.loads(archive.read(bundle.METADATA))
    for key in sorted({*keys, *facts}):
        for odd in (None, True, 7, 1.5, "text", [], {}, [None], [["a"]]):
            path = rewritten(saved, tmp_path / "m.keras", metadata=json.dumps({**facts, key: odd}))
            try:
                bundle.load(path, check=False)
            except UserError as error:
                assert "\n" not in str(error)
    for odd in (5, True, 1.5, "ab", {"a": 1}, [1, 2]):
        text = json.dumps({**facts, "classes": odd})
        assert "class names that are not text" in fails(rewritten(saved, tmp_path / "m.keras", metadata=text))


def test_golden_batch_notices_other_predictions(saved, tmp_path):
    with zipfile.ZipFile(saved) as archive, np.load(archive.open(bundle.GOLDEN)) as golden:
        images, logits = golden["images"], golden["logits"]

    def with_logits(values):
        target = tmp_path / "golden.npz"
        np.savez(target, images=images, logits=values)
        return rewritten(saved, tmp_path / "m.keras", golden=target.read_bytes())

    scale = max(1.0, np.abs(logits).max())
    bundle.load(with_logits(logits + np.float32(0.5e-3 * scale)))
    path = with_logits(logits + np.float32(2e-3 * scale))
    assert "gives other predictions than when it was saved" in fails(path)
    bundle.load(path, check=False)
    assert "expected finite numbers (4, 4)" in fails(with_logits(np.full_like(logits, np.nan)))
    assert "expected finite numbers (4, 4)" in fails(with_logits(logits[:, :2]))


@keras.saving.register_keras_serializable("mine")
class Halved(keras.layers.Layer):
    def call(self, x):
        return x / 2


def test_own_layers_are_allowed_by_the_caller_not_by_the_file(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(Halved()(inputs))
    path = tmp_path / "m.keras"
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    bundle.save(model, path, {"classes": ["a", "b"]}, PIXELS[:, :8, :8])
    assert "custom_objects" in fails(path)
    with pytest.raises(UserError, match="registered object 'mine>Halved'"):
        bundle.load(path, custom_objects={"mine>Doubled": Halved})
    loaded, _ = bundle.load(path, custom_objects={"mine>Halved": Halved})
    assert isinstance(loaded.layers[1], Halved)


def test_a_model_that_keras_saved_gives_its_weights(tmp_path):
    """Compiled, with bare operations and an inner model, as people have them."""
    from keras_transfer.safety.model_file import load_keras

    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3, activation=keras.activations.gelu)])
    inner.compile("sgd", "mse")
    inputs = keras.Input((8, 8, 3))
    x = inner(keras.layers.RandomFlip()(inputs / 255.0)[:, ::2, ::2])
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_regularizer="l2")(keras.layers.Flatten()(x)))
    model.compile("adam", "mse")
    model.save(tmp_path / "m.keras")
    loaded = load_keras(tmp_path / "m.keras")
    assert not loaded.compiled and not any(getattr(layer, "compiled", False) for layer in loaded.layers)
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_required_packages(saved, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    rewritten(saved, path, metadata=json.dumps({**FACTS, "requires": ["os"]}))
    assert "custom_objects" in fails(path)
    rewritten(saved, path, metadata=json.dumps({**FACTS, "requires": ["keras_hub"]}))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(MissingExtra, match="hub"):
        bundle.load(path)


PLAIN = """
import os, sys
os.environ["KERAS_BACKEND"] = sys.argv[1]
import keras, numpy as np
out = {}
for name in sys.argv[3:]:
    model = keras.models.load_model(os.path.join(sys.argv[2], name + ".keras"))
    out[name] = model.predict_on_batch(np.load(os.path.join(sys.argv[2], name + ".npy")))
assert keras.backend.backend() == sys.argv[1]
assert not any(m.startswith("keras_transfer") for m in sys.modules)
np.savez(os.path.join(sys.argv[2], "from_" + sys.argv[1] + ".npz"), **out)
"""


def variants(monkeypatch):
    """Each kind of preprocessing and of input once."""
    yield "tf", build_classifier("tiny", 4, weights="none"), PIXELS
    tiny = backbones.BACKBONES["tiny"]
    monkeypatch.setitem(backbones.BACKBONES, "tiny", dataclasses.replace(tiny, preprocessing=CAFFE))
    yield "caffe", build_classifier("tiny", 4, weights="none"), PIXELS
    monkeypatch.setitem(backbones.BACKBONES, "tiny", dataclasses.replace(tiny, preprocessing=TORCH))
    yield "grey", build_classifier("tiny", 4, channels=1, weights="none"), PIXELS[..., :1]


@pytest.mark.slow
def test_plain_keras_on_every_backend_gives_the_same_logits(tmp_path, monkeypatch):
    expected = {}
    for name, model, pixels in variants(monkeypatch):
        bundle.save(model, tmp_path / f"{name}.keras", FACTS, pixels)
        np.save(tmp_path / f"{name}.npy", pixels)
        expected[name] = model.predict_on_batch(pixels)
    processes = {
        backend: subprocess.Popen(
            [sys.executable, "-c", PLAIN, backend, str(tmp_path), *expected],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ""},
        )
        for backend in installed_backends()
    }
    for backend, process in processes.items():
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr[-2000:]
        found = np.load(tmp_path / f"from_{backend}.npz")
        for name, logits in expected.items():
            assert np.abs(logits).max() > 1e-3
            np.testing.assert_allclose(found[name], logits, atol=1e-4 * max(1.0, np.abs(logits).max()), err_msg=name)
