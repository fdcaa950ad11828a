"""Low-rank adapters: they train in place of kernels, nothing else of the backbone moves, and saved models are plain."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.models.adapters import attach, merge, merged, merged_weights
from keras_transfer.models.freeze import apply_train, unfreeze
from keras_transfer.training.train import train
from tests.checkpoints.references import timm_folder
from tests.conftest import make_photos
from tests.training.small import StopAt, assert_same, like_keras, resume, settings

pytestmark = pytest.mark.backend
RANK = 2
PHASES = [
    {"name": "head", "solver": "exact"},
    {"name": "fine", "train": "last 2 groups", "lora": RANK, "epochs": 2, "learning_rate": 0.01, "schedule": "cosine"},
    {"name": "after", "train": "head", "epochs": 1, "learning_rate": 0.001, "schedule": "constant"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "vit"
    timm_folder(path, "vit_small_patch16_224", img_size=32, embed_dim=16, depth=3, num_heads=2)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos") / "photos", {"apple": 20, "berry": 20, "cherry": 20})


@pytest.fixture(scope="module")
def run(folder, photos, tmp_path_factory):
    return train(_settings(folder, photos, tmp_path_factory.mktemp("whole") / "run"), say=lambda _: None)


def _settings(folder, photos, output, **more):
    model = {"backbone": str(folder), "label_smoothing": 0.0}
    return settings(photos, output, model=model, phases=PHASES, **more)


def _classifier(folder):
    return kt.Classifier(str(folder), ["a", "b"], image_size=32)


def _values(model):
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


def test_kernels_change_by_a_matrix_of_low_rank_and_nothing_else_moves(folder, run):
    before = _values(_classifier(folder).model)
    loaded = keras.models.load_model(run.model)
    after = _values(loaded)
    assert set(after) == set(before)
    moved = {path for path in before if not path.startswith("logits") and not np.array_equal(before[path], after[path])}
    kernels = {path for path in before if path.endswith("/kernel") and path.startswith(("block1_", "block2_"))}
    assert moved == {path for path in kernels if min(before[path].shape) > RANK} and len(moved) == 8
    for path in moved:
        singular = np.linalg.svd(after[path].astype(np.float64) - before[path], compute_uv=False)
        assert (singular[RANK:] < 1e-5 * singular[0]).all()


def test_the_saved_model_is_plain(run):
    with zipfile.ZipFile(run.model) as archive:
        assert b"lora" not in archive.read("config.json")
    assert [row["phase"] for row in run.read_history()] == ["head", "fine", "fine", "after"]


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_bits(folder, photos, run, tmp_path):
    for number, (epochs, batch) in enumerate([(2, 1), (3, 0)]):  # within the phase, and after it
        output = tmp_path / f"cut{number}"
        with pytest.raises(Interrupted):
            train(
                _settings(folder, photos, output, save_every="1 step"),
                callbacks=[like_keras(StopAt)(epochs, batch)],
                say=lambda _: None,
            )
        assert_same(run, resume(output))


def test_merging_and_saving_change_no_output(folder, tmp_path):
    clf = _classifier(folder)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    before = keras.ops.convert_to_numpy(clf.model(images))
    apply_train(clf.model, str(folder), "all")
    attach(clf.model, RANK, "all")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(clf.model(images)), before)
    layer = clf.model.get_layer("block0_mlp_fc1")
    layer.lora_kernel_b.assign(np.random.default_rng(1).normal(size=layer.lora_kernel_b.shape))
    adapted, kept = keras.ops.convert_to_numpy(clf.model(images)), _values(clf.model)
    assert np.abs(adapted - before).max() > 1e-3
    clf.save(tmp_path / "model.keras")
    plain = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(plain(images)), adapted, atol=1e-5)
    with merged(clf.model):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(clf.model(images)), adapted, atol=1e-5)
    assert all(np.array_equal(value, kept[path]) for path, value in _values(clf.model).items())
    weights = merged_weights(clf.model)
    merge(clf.model)
    for one, other, third in zip(weights, clf.model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)
    unfreeze(clf.model)
    assert len(clf.model.trainable_weights) == len(clf.model.weights)


@pytest.mark.parametrize(
    ("backbone", "phase", "message"),
    [
        ("tiny", {"train": "all"}, "no Dense or EinsumDense layer with more than 8"),
        ("vit", {"train": "head"}, "no Dense or EinsumDense layer"),
        ("vit", {"train": "all", "lora": 64}, "more than 64"),
    ],
)
def test_a_phase_with_nothing_to_adapt_is_an_error(backbone, phase, message, folder, photos):
    data = kt.data.folder(photos, image_size=32)
    options = {"weights": "none"} if backbone == "tiny" else {}
    clf = kt.Classifier("tiny" if backbone == "tiny" else str(folder), data.classes, image_size=32, **options)
    with pytest.raises(UserError, match=message) as error:
        clf.fit(data, [kt.Phase("fine", **{"lora": 8, "epochs": 1, **phase})], verbose=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("more", [{"solver": "exact"}, {"folds": 3, "learning_rate": 0.1}, {"lora": 0}])
def test_lora_does_not_go_with_everything(more):
    with pytest.raises((UserError, ValueError), match="lora"):
        kt.Phase("fine", train="all", **{"lora": 8, **more})
