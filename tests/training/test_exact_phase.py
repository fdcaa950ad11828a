"""A phase whose head is solved: the optimum, measured, saved, resumed and reported like a phase that trains."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest
from scipy.special import softmax

import keras_transfer as kt
from keras_transfer.config.load import validate
from keras_transfer.errors import UserError
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.runs import RunDirectory
from keras_transfer.solved.solvers import SOLVERS
from keras_transfer.training.train import train
from tests.conftest import make_photos
from tests.training.small import StopAt, assert_same, like_keras, resume, settings

pytestmark = pytest.mark.backend

EXACT = {"name": "head", "solver": "exact", "strength": 0.001}
OPTIONS = {"batch_size": 16, "accumulate": 1, "class_weights": "none", "workers": 0}
AFTER = {"name": "all", "epochs": 1, "learning_rate": 0.003, "schedule": "constant"}


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", {"apple": 24, "berry": 12, "cherry": 18})


@pytest.fixture
def data(photos):
    return kt.data.folder(photos, image_size=32)


def classifier(data) -> kt.Classifier:
    return kt.Classifier("tiny", data.classes, image_size=32, weights="none", precision="float32")


def fit(clf: kt.Classifier, data, *phases: kt.Phase, **options):
    return clf.fit(
        data, phases or [kt.Phase("head", solver="exact", strength=1e-3)], workers=0, verbose=False, **options
    )


def head_of(clf: kt.Classifier) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = clf.model.get_layer("logits").get_weights()
    return kernel, bias


def plain_features(clf: kt.Classifier, data) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features of the training images, by the model itself, and the labels."""
    loader = clf._setup(data, None, (), OPTIONS, 0.0).train.loader.in_order(len(data.train))
    images = loader.batch(0, 0).astype(np.float32)
    loader.close()
    pooled = keras.Model(clf.model.inputs[0], clf.model.get_layer("pool").output)
    return keras.ops.convert_to_numpy(pooled(images, training=False)), data.train.labels


def test_the_head_is_the_optimum(data):
    clf = classifier(data)
    result = fit(clf, data)
    features, labels = plain_features(clf, data)
    reference = SOLVERS["logistic"].solve(features, labels, 3, 1e-3)
    kernel, bias = head_of(clf)
    np.testing.assert_allclose(kernel, reference.kernel, atol=1e-4 * abs(reference.kernel).max())
    np.testing.assert_allclose(bias, reference.bias, atol=1e-3)
    assert kernel.dtype == np.float32
    assert [row["epoch"] for row in result.history] == [1]


def test_the_head_given_the_features_is_the_same_on_every_backend(data):
    """The features in the cache are this backend's own; the head on them is NumPy's, up to float32."""
    from keras_transfer.data.loading.keras_dataset import Batches
    from keras_transfer.engine.features import FeatureBatches
    from keras_transfer.training.exact import HeadPart, solve_head

    clf = classifier(data)
    loader = clf._setup(data, None, (), OPTIONS, 0.0).train.loader
    given = np.random.default_rng(0).normal(size=(len(data.train), 16)).astype(np.float32)
    inputs = keras.Input((16,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(inputs))
    part = HeadPart(model, FeatureBatches([given], loader), Batches(loader))
    for strength in (1e-2, "auto"):
        solution = solve_head(part, strength)
        chosen = SOLVERS["logistic"].solve(given, data.train.labels, 3, solution.head.strength)
        if solution.validation is not None:
            chosen = chosen.scaled(solution.validation.temperature)
        kernel, bias = model.get_weights()
        np.testing.assert_allclose(kernel, chosen.kernel, atol=1e-6)
        np.testing.assert_allclose(bias, chosen.bias, atol=1e-6)
    loader.close()


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["auto", "memory", "off"])
def test_the_row_of_the_history_has_the_figures_of_the_head(data, cache):
    clf = classifier(data)
    row = fit(clf, data, cache=cache).history[0]
    for split, prefix in ((data.train, ""), (data.val, "val_")):
        found = clf.evaluate(split)
        assert row[f"{prefix}accuracy"] == pytest.approx(found["accuracy"], abs=1e-6)
        assert row[f"{prefix}loss"] == pytest.approx(found["loss"], abs=1e-4)
    assert row["seconds"] > 0 and row["images_per_second"] > 0 and row["learning_rate"] == 0


def test_nothing_but_the_head_moves(data):
    clf = classifier(data)
    audit = FreezeAudit()
    clf.model.trainable = False
    for layer in clf.model.layers:
        layer.trainable = layer.name == "logits"
    audit.snapshot(clf.model)
    fit(clf, data)
    audit.check(clf.model)


def test_solving_again_changes_nothing(data):
    clf = classifier(data)
    fit(clf, data)
    head = head_of(clf)
    fit(clf, data)
    np.testing.assert_array_equal(head[0], head_of(clf)[0])


def test_class_weights_and_sample_weights_count(data):
    plain, weighted = classifier(data), classifier(data)
    fit(plain, data)
    fit(weighted, data, class_weights="balanced")
    features, labels = plain_features(weighted, data)
    weights = (1 / np.bincount(labels))[labels]
    reference = SOLVERS["logistic"].solve(features, labels, 3, 1e-3, weights)
    np.testing.assert_allclose(head_of(weighted)[0], reference.kernel, atol=1e-3 * abs(reference.kernel).max())
    assert abs(head_of(plain)[0] - head_of(weighted)[0]).max() > 1e-2


@pytest.mark.slow
def test_automatic_strength_and_a_phase_after_it(data):
    clf = classifier(data)
    phases = [kt.Phase("head", solver="exact"), kt.Phase("all", epochs=1, learning_rate=1e-4)]
    result = clf.fit(data, phases, workers=0, verbose=False)
    assert [row["phase"] for row in result.history] == ["head", "all"]
    logits = keras.ops.convert_to_numpy(clf.model(np.zeros((1, 32, 32, 3), np.float32)))
    assert np.isfinite(softmax(logits)).all()


@pytest.mark.slow
def test_the_same_with_a_callback_that_wants_the_whole_model(data):
    class Mine(keras.callbacks.Callback):
        inputs = ()

        def on_epoch_end(self, epoch, logs=None):
            self.inputs = self.model.input_shape

    one, other, mine = classifier(data), classifier(data), Mine()
    fit(one, data)
    fit(other, data, callbacks=[mine])
    assert mine.inputs == (None, 32, 32, 3)
    np.testing.assert_array_equal(head_of(one)[0], head_of(other)[0])


@pytest.mark.slow
def test_a_run_with_a_solved_head_is_complete(photos, tmp_path):
    lines: list[str] = []
    run = train(
        settings(photos, tmp_path / "run", report=True, phases=[{"name": "head", "solver": "exact"}, AFTER]),
        say=lines.append,
    )
    said = "\n".join(lines)
    assert "head solved by logistic regression, strength" in said and "accuracy" in said
    rows = run.read_history()
    assert [(row["phase"], int(row["epoch"])) for row in rows] == [("head", 1), ("all", 1)]
    metrics = json.loads(run.metrics.read_text())
    assert metrics["best"]["phase"] in ("head", "all") and math.isfinite(metrics["test"]["accuracy"])
    assert metrics["phases"][0]["trainable_parameters"] == 99
    config = run.read_config()
    assert config.phases[0].epochs == 1 and config.phases[0].solver == "exact" and not config.phases[0].augment
    assert "solved" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop", [{"epochs": 0}, {"epochs": 1, "batch": 0}], ids=["while measuring", "in the next phase"]
)
def test_resuming(photos, tmp_path, stop):
    phases = [EXACT, {**AFTER, "epochs": 2}]
    whole = train(settings(photos, tmp_path / "whole", phases=phases), say=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train(
            settings(photos, tmp_path / "parts", phases=phases),
            say=lambda _: None,
            callbacks=[like_keras(StopAt)(**stop)],
        )
    assert_same(whole, resume(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ({"name": "all"}, "solves the last layer only, but train: all also trains"),
        ({"name": "head", "train": "last 1 groups"}, "solves the last layer only"),
        ({"name": "head", "epochs": 3}, "solver exact takes 1 epoch, got epochs 3"),
        ({"name": "head", "average": "ema"}, "average"),
        ({"name": "head", "solver": "gradient", "strength": 0.1}, "strength needs solver: exact"),
        ({"name": "head", "strength": 0}, "strength"),
    ],
)
def test_what_is_refused(photos, tmp_path, phase, words):
    with pytest.raises(UserError, match=words):
        train(settings(photos, tmp_path / "run", phases=[{"solver": "exact", **phase}]), say=lambda _: None)


def test_patterns_that_match_only_the_head_are_solved(data):
    assert (
        len(fit(classifier(data), data, kt.Phase("mine", train=["logits"], solver="exact", strength=0.01)).history) == 1
    )


@pytest.mark.slow
def test_an_automatic_phase_can_be_solved(photos, tmp_path):
    tree = settings(photos, tmp_path / "run", phases="auto").model_dump()
    tree["phases"] = {0: {"solver": "exact", "train": "head", "name": "head"}, 1: {"epochs": 1}}
    tree["model"] |= {"weights": "none"}
    with pytest.raises(UserError, match=r"phases\.1"):
        train(validate(tree), say=lambda _: None)  # random weights have one phase
    tree["phases"] = {0: {"solver": "exact", "train": "head", "name": "head"}}
    run = train(validate(tree), say=lambda _: None)
    assert isinstance(run, RunDirectory) and len(run.read_history()) == 1


@pytest.mark.slow
def test_the_range_test_solves_the_head_and_goes_on(data):
    clf = classifier(data)
    before = clf.model.get_weights()
    phases = [kt.Phase("head", solver="exact"), kt.Phase("all")]
    found = clf.lr_find(data, phases, workers=0, steps=20, verbose=False)
    assert [sweep.phase for sweep in found] == ["all"]
    for a, b in zip(before, clf.model.get_weights()):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="no learning rate to find"):
        clf.lr_find(data, phases[:1], workers=0, steps=20, verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1e-3, "auto"])
def test_without_validation_images_the_out_of_fold_figures_stand_for_them(photos, strength):
    from sklearn.metrics import log_loss

    from keras_transfer.solved.folds import folds_of

    data = kt.data.folder(photos, image_size=32, val_fraction=0)
    clf = classifier(data)
    features, labels = plain_features(clf, data)
    result = fit(clf, data, kt.Phase("head", solver="exact", strength=strength))
    outcome, row = result.outcomes[0], result.history[0]
    assert outcome["phase"] == "head" and (strength == "auto" or outcome["strength"] == strength)
    folds = folds_of(data.train.labels, features)
    found = np.zeros((len(folds), len(labels), 3))
    for repeat, numbers in zip(found, folds):
        for held in (numbers == number for number in np.unique(numbers)):
            head = SOLVERS["logistic"].solve(features[~held], labels[~held], 3, outcome["strength"])
            repeat[held] = head.logits(features[held]) / outcome["temperature"]
    np.testing.assert_allclose(result.out_of_fold, found.mean(axis=0), atol=1e-2)
    loss = np.mean([log_loss(labels, softmax(part, axis=1)) for part in found])
    assert row["val_loss"] == outcome["evidence"]["log_loss"] == pytest.approx(loss, abs=1e-3)
    assert row["val_accuracy"] == pytest.approx((found.argmax(axis=2) == labels).mean(), abs=0.02)
    assert result.best == {"phase": "head", "epoch": 1, "val_loss": row["val_loss"]}


@pytest.mark.slow
def test_features_are_float32_whatever_the_run_computes_in(photos, tmp_path):
    lines: list[str] = []
    tree = {"cache_precision": "bfloat16", "path": str(photos), "image_size": 32, "batch_size": 16, "workers": 0}
    train(settings(photos, tmp_path / "run", phases=[EXACT], data=tree), say=lines.append)
    told = [line for line in lines if line.startswith("frozen features of") and "images/s" in line]
    assert told and all(line.endswith("float32") for line in told)
