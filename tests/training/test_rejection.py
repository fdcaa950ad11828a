"""None of these: a model whose file has a second output, calibrated on images that it was not made from."""

import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import UserError
from keras_transfer.solved.novelty import Novelty, Subspace, energy_of, held_out_residuals, residual_folds
from tests.conftest import make_photos

pytestmark = pytest.mark.backend

SETTINGS = ["model.backbone=tiny", "data.image_size=32", "output.plots=false", "reject_rate=0.2", "data.cache=memory"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rejects")
    make_photos(folder / "photos", {"apple": 16, "berry": 16, "cherry": 16})
    phases = "phases=[{name: head, solver: exact}, {name: all, folds: 2, epochs: 1, learning_rate: 0.001}]"
    config = kt.load_config(data=str(folder / "photos"), output=str(folder / "run"),
                            overrides=[*SETTINGS, "model.weights=none", "data.val_fraction=0", phases])  # fmt: skip
    return kt.train(config, say=lambda line: None)


def test_the_file_has_a_second_output_and_keras_alone_computes_the_same(run):
    import keras

    clf = kt.load(run.path)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    found = clf.predict(list(images))
    logits, novelty = keras.models.load_model(run.model).predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose([one.novelty for one in found], novelty[:, 0], atol=1e-4)
    assert [one.rejected for one in found] == (novelty[:, 0] > 0).tolist()
    assert clf.model.output_shape == (None, 3) and logits.shape == (5, 3)


def test_the_layers_compute_what_numpy_computes(run):
    from keras_transfer.models.novelty import attach, features_model, joined

    clf = kt.Classifier("tiny", ["a", "b", "c"], image_size=32, weights="none")
    images = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3)).astype(np.float32)
    features, logits = (part.predict(images, verbose=0) for part in (features_model(clf.model), clf.model))
    residuals = held_out_residuals(features, np.arange(20) % 4)
    novelty = Novelty.calibrate(Subspace.of(features), energy_of(logits), residuals, 0.1)
    attach(clf.model, novelty)
    rows = joined(clf.model, {"novelty": {"rate": 0.1}, "classes": "abc"}).predict(images, verbose=0)
    np.testing.assert_allclose(rows[:, :3], logits, atol=1e-5)
    np.testing.assert_allclose(rows[:, 3], novelty(features, logits), atol=1e-3)


def test_the_run_measures_and_the_report_shows_it(run):
    metrics = json.loads(run.metrics.read_text())
    assert 0 <= metrics["test"]["novelty"]["rejected"] <= 1 and metrics["test"]["novelty"]["rate"] == 0.2
    assert all("residuals" not in outcome for outcome in metrics["outcomes"])
    assert "None of these" in run.report.read_text()


@pytest.mark.slow
def test_a_classifier_keeps_it_through_saving_and_loses_it_in_further_training(run, tmp_path):
    clf = kt.load(run.path)
    image = np.zeros((32, 32, 3), np.uint8)
    clf.save(tmp_path / "again.keras")
    again = kt.load(tmp_path / "again.keras")
    assert again.predict(image).novelty == pytest.approx(clf.predict(image).novelty, abs=1e-5)
    again.fit(str(run.path.parent / "photos"), [kt.Phase("head", epochs=1)], verbose=False)
    assert again.predict(image).novelty is None


@pytest.mark.slow  # the random network's energies hardly differ: their standard deviation turns jax's rounding into 5e-4 of novelty
def test_exports_have_it_too(run):
    pytest.importorskip("openvino")
    from keras_transfer.export import export

    for row in export(run.path, ["openvino"]):
        assert row["novelty_max_difference"] < 5e-4 and row["agrees"]


def test_the_threshold_is_the_quantile_of_conformal_prediction():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8))
    energies, residuals = rng.normal(size=99), rng.uniform(0.2, 0.6, 99)
    novelty = Novelty.calibrate(Subspace.of(features), energies, residuals, 0.1)
    assert (novelty.score(energies, residuals) > 0).sum() == 9  # the 90th smallest of 99 is the threshold


def test_calibrated_out_of_fold_it_keeps_the_rate_on_new_images():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(2400, 30)) + 1)
    logits = rng.normal(size=(2400, 4))
    residuals = held_out_residuals(features[:400], np.arange(400) % 5)
    novelty = Novelty.calibrate(Subspace.of(features[:400]), energy_of(logits[:400]), residuals, 0.1)
    assert (novelty(features[400:], logits[400:]) > 0).mean() == pytest.approx(0.1, abs=0.03)


def test_held_out_residuals_are_those_of_subspaces_with_as_many_axes():
    features = np.random.default_rng(1).normal(size=(60, 40)) + 1
    folds = np.arange(60) % 6
    found = held_out_residuals(features, folds)
    count = Subspace.of(features).axes.shape[1]
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    for number in range(6):
        inside, held = rows[folds != number], rows[folds == number]
        axes = np.linalg.eigh(np.cov(inside.T))[1][:, -count:]
        off = held - inside.mean(axis=0)
        np.testing.assert_allclose(found[folds == number], np.square(off - off @ axes @ axes.T).sum(axis=1))
    assert [residual_folds(n) for n in (100, 1000, 10_000)] == [20, 10, 5]


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, "nan", "inf", "often", True])
def test_a_rate_out_of_range_is_one_line(rate):
    with pytest.raises(UserError, match="reject_rate") as caught:
        kt.load_config("quickstart", [f"reject_rate={json.dumps(rate)}"])
    assert "\n" not in str(caught.value)


def test_too_few_images_for_a_rate():
    with pytest.raises(UserError, match="needs at least 99 held-out images, got 50"):
        Novelty.calibrate(Subspace.of(np.eye(8)), np.arange(50.0), np.arange(50.0), 0.01)


def test_metadata_and_outputs_that_do_not_fit_are_refused(run, tmp_path):
    import zipfile

    with zipfile.ZipFile(run.model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for novelty in (None, {"rate": 2.0}, {"rate": "a"}, [1]):
        stored = json.loads(members["keras_transfer/metadata.json"])
        stored["novelty"] = novelty
        with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
            for name, content in members.items():
                changed = json.dumps(stored).encode() if name == "keras_transfer/metadata.json" else content
                archive.writestr(name, changed)
        with pytest.raises(UserError):
            kt.load(tmp_path / "bad.keras")
