"""Phases with folds: each training is judged on what it has not seen, and accepted only if it is better."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

import keras_transfer as kt
from keras_transfer.errors import UserError
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.freeze import apply_train
from keras_transfer.solved.temperature import fit_temperature
from keras_transfer.training import folded
from keras_transfer.training.train import train
from tests.conftest import make_photos
from tests.training.small import StopAt, assert_same, like_keras, resume, settings

pytestmark = pytest.mark.backend

HEAD = {"name": "head", "solver": "exact"}
TOP = {"name": "top", "train": "last 1 groups", "folds": 2, "epochs": 2, "learning_rate": 0.003}
NO_VAL = {"val_fraction": 0.0, "image_size": 32, "batch_size": 16, "workers": 0, "augment": ["horizontal_flip"]}


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", {"apple": 16, "berry": 12, "cherry": 14})


@pytest.fixture
def data(photos):
    return kt.data.folder(photos, image_size=32, val_fraction=0)


def classifier(data) -> kt.Classifier:
    return kt.Classifier("tiny", data.classes, image_size=32, weights="none", precision="float32")


def fit(clf: kt.Classifier, data, *phases: dict, **options):
    options = {"workers": 0, "verbose": False, "batch_size": 16, **options}
    return clf.fit(data, [kt.Phase(**phase) for phase in phases or (HEAD, TOP)], **options)


def decide(monkeypatch, accepted: bool) -> None:
    """Let the evidence say what the test is about; a fold alone is never hopeless."""
    judge = folded._judge

    def decided(logits, work, positions):
        found = judge(logits, work, positions)
        return folded.Judgement(found.best, found.logits, found.temperatures, 1.0 if accepted else 0.0, 0.5)

    monkeypatch.setattr(folded, "_judge", decided)


@pytest.fixture
def trainings(monkeypatch):
    """What each training began with, ended with, and was judged on."""
    found: list[tuple] = []
    between = folded._between

    def record(model, first, last, judged):
        found.append((first, last, judged.loader.order(0)))
        return between(model, first, last, judged)

    monkeypatch.setattr(folded, "_between", record)
    return found


def pixels(data) -> np.ndarray:
    return np.stack([image_at(data, i) for i in range(len(data.train))])


def image_at(data, i: int) -> np.ndarray:
    from keras_transfer.data.augment import transforms

    return transforms([], (32, 32), "squash", "rgb")[0](data.train.read(i), None).astype(np.float32)


def test_the_outcome_is_the_mean_of_the_folds(data, trainings, monkeypatch):
    decide(monkeypatch, accepted=True)
    before, after = classifier(data), classifier(data)
    fit(before, data, HEAD)
    result = fit(after, data)
    outcome = result.outcomes[-1]
    assert outcome["accepted"] and outcome["folds"] == 2 and outcome["alpha"] in folded.ALPHAS[1:]
    start = before.model.get_weights()
    size = len(trainings[0][1])  # of the part that trains
    for k in range(size):
        expected = start[-size + k].astype(np.float64)
        expected += outcome["alpha"] * (np.mean([last[k] for _, last, _ in trainings], axis=0) - expected)
        expected /= outcome["temperature"] if k >= size - 2 else 1
        np.testing.assert_allclose(after.model.get_weights()[-size + k], expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(start[:-size], after.model.get_weights()[:-size]):
        np.testing.assert_array_equal(a, b)
    assert result.best["phase"] == "top"


@pytest.mark.slow
def test_once_accepted_all_images_are_trained_on_again(data, trainings, monkeypatch):
    decide(monkeypatch, accepted=True)
    ends, fit_fold = [], folded._fit

    def record(setup, phase, start, model, train, callbacks):
        fit_fold(setup, phase, start, model, train, callbacks)
        ends.append((sorted(train.loader.order(0).tolist()), model.get_weights()))

    monkeypatch.setattr(folded, "_fit", record)
    before, after = classifier(data), classifier(data)
    fit(before, data, HEAD)
    result = fit(after, data, HEAD, {**TOP, "folds": 3, "rounds": 1, "refit": True})
    outcome, (seen, last) = result.outcomes[-1], ends[-1]
    assert len(ends) == 2 and len(ends[0][0]) < len(data.train) and seen == list(range(len(data.train)))
    assert len(trainings) == outcome["folds"] == 1 and outcome["evidence"]["n"] == len(trainings[0][2])
    start, end = before.model.get_weights()[-len(last) :], after.model.get_weights()[-len(last) :]
    for k, (a, b, c) in enumerate(zip(start, last, end)):
        mixed = a + outcome["alpha"] * (b.astype(np.float64) - a)
        np.testing.assert_allclose(
            c, mixed / (outcome["temperature"] if k >= len(last) - 2 else 1), rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_what_is_rejected_is_not_trained_again(data, trainings, monkeypatch):
    decide(monkeypatch, accepted=False)
    clf = classifier(data)
    result = fit(clf, data, HEAD, {**TOP, "rounds": 1, "refit": True})
    assert len(trainings) == 1 and not result.outcomes[-1]["accepted"]


@pytest.mark.slow
def test_the_logits_are_those_of_models_that_did_not_see_the_image(data, trainings, monkeypatch):
    decide(monkeypatch, accepted=True)
    clf = classifier(data)
    result = fit(clf, data)
    outcome, images, labels = result.outcomes[-1], pixels(data), data.train.labels
    judged = np.concatenate([positions for *_, positions in trainings])
    assert sorted(judged.tolist()) == list(range(len(labels)))
    expected, before = np.zeros((len(labels), 3)), np.zeros((len(labels), 3))
    kept = clf.model.get_weights()
    for first, last, positions in trainings:
        for alpha, logits in ((0, before), (outcome["alpha"], expected)):
            mixed = [(a + alpha * (b.astype(np.float64) - a)).astype(np.float32) for a, b in zip(first, last)]
            clf.model.set_weights([*kept[: -len(mixed)], *mixed])
            logits[positions] = keras.ops.convert_to_numpy(clf.model(images[positions], training=False))
    ratio = fit_temperature(expected, labels) / fit_temperature(before, labels)
    assert outcome["temperature"] == pytest.approx(ratio, rel=0.01)
    expected /= fit_temperature(expected, labels)
    np.testing.assert_allclose(result.out_of_fold, expected, rtol=0.01, atol=0.01)
    row = result.history[-1]
    assert row["val_loss"] == pytest.approx(log_loss(labels, np.exp(log_softmax(result.out_of_fold, axis=1))), rel=1e-5)
    assert row["val_accuracy"] == pytest.approx((result.out_of_fold.argmax(axis=1) == labels).mean())
    assert row["val_loss"] == outcome["evidence"]["log_loss"]


@pytest.mark.slow
def test_each_fold_begins_with_a_head_that_did_not_see_it(data, trainings):
    from keras_transfer.solved.solvers import SOLVERS

    clf = classifier(data)
    pooled = keras.Model(clf.model.inputs[0], clf.model.get_layer("pool").output)
    features = keras.ops.convert_to_numpy(pooled(pixels(data), training=False))
    outcome = fit(clf, data).outcomes[0]
    strength, temperature = outcome["strength"], outcome["temperature"]
    for first, _, positions in trainings:
        given = np.delete(features, positions, axis=0), np.delete(data.train.labels, positions)
        reference = SOLVERS["logistic"].solve(*given, 3, strength).scaled(temperature)
        np.testing.assert_allclose(first[-2], reference.kernel, atol=2e-3 * abs(reference.kernel).max())


@pytest.mark.slow
def test_a_rejected_training_leaves_no_trace(data, monkeypatch):
    decide(monkeypatch, accepted=False)
    before, after = classifier(data), classifier(data)
    alone, result = fit(before, data, HEAD), fit(after, data)
    for a, b in zip(before.model.get_weights(), after.model.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert not result.outcomes[-1]["accepted"] and result.best["phase"] == "head"
    np.testing.assert_array_equal(alone.out_of_fold, result.out_of_fold)
    head, top = result.history
    assert (head["val_loss"], head["val_accuracy"]) == (top["val_loss"], top["val_accuracy"])


def test_the_rule():
    """Against the definition: calibrated, paired, one standard error."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    good = 2 * np.eye(3)[labels] + rng.normal(size=(200, 3))
    logits = np.stack([rng.normal(size=(200, 3)), good * 3, good, rng.normal(size=(200, 3)), rng.normal(size=(200, 3))])
    found = folded._judge(logits, folded._Folds(None, None, [], labels, None, None), np.arange(200))
    assert found.best in (1, 2)
    cost = [-log_softmax(part / fit_temperature(part, labels), axis=1)[range(200), labels] for part in logits]
    paired = cost[0] - cost[found.best]
    assert found.gain == pytest.approx(paired.mean())
    assert found.error == pytest.approx(paired.std(ddof=1) / np.sqrt(200))


@pytest.mark.slow
def test_a_hopeless_first_fold_is_the_last(data, trainings, monkeypatch):
    worse = {**TOP, "learning_rate": 30.0, "optimizer": "sgd", "clip_norm": 1.0, "folds": 3, "schedule": "constant"}
    monkeypatch.setattr(folded, "ALPHAS", (0.0, 1.0))
    result = fit(classifier(data), data, HEAD, worse)
    assert len(trainings) == result.outcomes[-1]["folds"] == 1 and not result.outcomes[-1]["accepted"]


@pytest.mark.slow
def test_frozen_layers_stay(data, monkeypatch):
    decide(monkeypatch, accepted=True)
    clf, audit = classifier(data), FreezeAudit()
    apply_train(clf.model, "tiny", "last 1 groups", batch_norm="train")
    audit.snapshot(clf.model)
    fit(clf, data, HEAD, {**TOP, "batch_norm": "train"})
    audit.check(clf.model)


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 1])
def test_images_that_train_are_not_those_that_judge(data, monkeypatch, views):
    seen: list[tuple[set, set]] = []
    fit_one = folded._fit

    def spy(setup, phase, start, model, batches, callbacks):
        seen.append(set(np.concatenate([batches.loader.positions(3, i) for i in range(len(batches))]).tolist()))
        fit_one(setup, phase, start, model, batches, callbacks)

    monkeypatch.setattr(folded, "_fit", spy)
    result = fit(classifier(data), data, HEAD, {**TOP, "folds": 3}, augment=["horizontal_flip"], views=views)
    n = len(data.train)
    assert all(len(images) < n for images in seen)
    if len(seen) == 3:
        assert sum(n - len(images) for images in seen) == n
    assert len([loss for name, loss in result.iterations if name == "top"]) > 2 * len(seen)


def test_near_duplicates_are_in_one_fold(data):
    from keras_transfer.solved.folds import folds_of

    rng = np.random.default_rng(1)
    features = rng.normal(size=(len(data.train), 20))
    features[5], features[-1] = features[0], features[3] + 1e-3
    for folds in (0, 2):
        for numbers in folds_of(data.train.labels, features, folds=folds):
            assert numbers[5] == numbers[0] and numbers[-1] == numbers[3]
    alike = folds_of(data.train.labels, np.ones((len(data.train), 4)), folds=2)
    assert set(np.unique(alike)) == {0, 1}


def test_given_validation_images_judge(photos, trainings, monkeypatch):
    decide(monkeypatch, accepted=True)
    data = kt.data.folder(photos, image_size=32)
    clf = classifier(data)
    result = fit(clf, data)
    assert len(trainings) == 1 and result.outcomes[-1]["folds"] == 1
    assert result.outcomes[-1]["evidence"]["n"] == len(data.val)
    found = clf.evaluate(data.val)
    assert result.history[-1]["val_accuracy"] == pytest.approx(found["accuracy"])
    assert result.outcomes[-1]["evidence"]["log_loss"] == pytest.approx(found["loss"], abs=1e-3)
    assert result.best["phase"] == "top" and result.out_of_fold is None


@pytest.mark.slow
@pytest.mark.parametrize("accepted", [True, False])
def test_interrupted_runs_end_the_same(photos, tmp_path, monkeypatch, accepted):
    decide(monkeypatch, accepted)
    options = {"phases": [HEAD, TOP], "data": {**NO_VAL, "path": str(photos)}}
    whole = train(settings(photos, tmp_path / "whole", **options), say=lambda _: None)
    again = train(settings(photos, tmp_path / "again", **options), say=lambda _: None)
    assert_same(whole, again)

    fit_one, calls = folded._fit, []

    def stopped(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        fit_one(*given)

    monkeypatch.setattr(folded, "_fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(settings(photos, tmp_path / "within", **options), say=lambda _: None)
    assert_same(whole, resume(tmp_path / "within"))
    with pytest.raises(KeyboardInterrupt):
        train(
            settings(photos, tmp_path / "after", **options),
            say=lambda _: None,
            callbacks=[like_keras(StopAt)(epochs=1, batch=1)],
        )
    lines: list[str] = []
    assert_same(whole, resume(tmp_path / "after", say=lines.append))
    assert not any("fold 1" in line for line in lines)


def test_the_state_keeps_outcomes_and_logits(tmp_path):
    from keras_transfer.training.state import TrainingState, load_state, save_state

    logits = np.random.default_rng(0).normal(size=(5, 3))
    outcomes = [{"phase": "head", "evidence": {"log_loss": 0.5}}]
    save_state(tmp_path / "state.npz", TrainingState(outcomes=outcomes, out_of_fold=[logits, np.empty((0, 3))]))
    found = load_state(tmp_path / "state.npz")
    assert found.outcomes == outcomes and [part.shape for part in found.out_of_fold] == [(5, 3), (0, 3)]
    np.testing.assert_array_equal(found.out_of_fold[0], logits)


@pytest.mark.slow
def test_a_run_says_what_came_of_it(photos, tmp_path):
    lines: list[str] = []
    run = train(
        settings(photos, tmp_path / "run", phases=[HEAD, TOP], data={**NO_VAL, "path": str(photos)}), say=lines.append
    )
    said = "\n".join(lines)
    assert "phase top: fold 1 of 2: held-out log-loss" in said and "phase top: fine-tuning " in said
    assert [row["phase"] for row in run.read_history()] == ["head", "top"]
    metrics = json.loads(run.metrics.read_text())
    assert any(line.startswith(f"test accuracy {metrics['test']['accuracy']:.4f}") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("accepted", [True, False])
def test_a_run_on_all_images_is_judged_out_of_fold(photos, tmp_path, monkeypatch, accepted):
    decide(monkeypatch, accepted)
    lines: list[str] = []
    every = {**NO_VAL, "path": str(photos), "test_fraction": 0.0}
    run = train(settings(photos, tmp_path / "run", phases=[HEAD, TOP], data=every), say=lines.append)
    metrics = json.loads(run.metrics.read_text())
    assert "test" not in metrics and metrics["val"]["n"] == 42
    assert any(line.startswith(f"out-of-fold accuracy {metrics['val']['accuracy']:.4f}") for line in lines)
    assert metrics["temperature"] == metrics["outcomes"][1 if accepted else 0]["temperature"]
    assert (run.plots / "confusion.png").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folds": 1}, "folds: expected 0, or at least 2, got 1"),
        ({"learning_rate": "auto"}, "folds needs a learning_rate, got auto"),
        ({"schedule": "plateau"}, "folds needs schedule constant, cosine or one_cycle, got plateau"),
        ({"average": "ema"}, "got average ema"),
        ({"solver": "exact", "train": "head", "epochs": 1}, "folds needs solver gradient"),
        ({"folds": 0}, "phase top needs validation images: set data.val_fraction above 0, or folds"),
    ],
)
def test_what_is_refused(photos, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        phases = [HEAD, {**TOP, **change}]
        train(
            settings(photos, tmp_path / "run", phases=phases, data={**NO_VAL, "path": str(photos)}),
            say=lambda _: None,
        )


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([TOP], "needs a phase with solver: exact just before it"),
        (
            [HEAD, TOP, {**HEAD, "name": "again", "train": "head"}],
            "phase again needs validation images, because phase top",
        ),
    ],
)
def test_what_needs_validation_images(data, phases, words):
    with pytest.raises(UserError, match=words):
        fit(classifier(data), data, *phases)
