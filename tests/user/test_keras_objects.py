"""Keras's callbacks, optimizers, losses, metrics, schedules and layers in a training of several phases."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.config.keras_objects import OPTIMIZERS, Live
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.augment.keras_layer import KerasLayer
from keras_transfer.training.objectives import own_metrics, training_loss

pytestmark = [pytest.mark.backend, pytest.mark.slow]

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
X = RNG.integers(0, 120, (40, 16, 16, 3), dtype=np.uint8) + (100 * Y[:, None, None, None]).astype(np.uint8)


def classifier():
    return kt.Classifier("tiny", ["a", "b"], image_size=16, weights="none")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two phases, the first on cached features, with callbacks that were made for one fit."""
    folder = tmp_path_factory.mktemp("callbacks")
    seen: list[int] = []
    callbacks = [
        keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        keras.callbacks.ModelCheckpoint(folder / "at{epoch:02d}.weights.h5", save_weights_only=True),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch)),
    ]
    clf = classifier()
    phases = [kt.Phase("head", epochs=2, learning_rate=1e-2), kt.Phase("all", epochs=3, learning_rate=1e-2)]
    result = clf.fit((X, Y), phases, callbacks=callbacks, verbose=False)
    return folder, clf, result, seen


def test_a_checkpoint_is_the_whole_classifier(trained):
    folder, clf, _, _ = trained
    plain = keras.models.load_model(folder / "best.keras")
    assert plain.input_shape == clf.model.input_shape
    loaded = kt.load(folder / "best.keras")
    assert loaded.classes == clf.classes
    assert loaded.predict(X[0]).probabilities == pytest.approx(clf.predict(X[0]).probabilities, abs=1e-6)


def test_epochs_are_numbered_on_over_phases(trained):
    folder, clf, result, seen = trained
    assert seen == result.epoch == [0, 1, 2, 3, 4]
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == seen
    assert [float(row["loss"]) for row in rows] == pytest.approx(result.history["loss"])
    assert sorted(file.name for file in folder.glob("at*")) == [f"at{n:02d}.weights.h5" for n in range(1, 6)]
    other = classifier()
    other.model.load_weights(folder / "at05.weights.h5")
    assert other.predict(X[0]).classes[0] in clf.classes


def test_what_only_serves_one_fit_is_refused():
    for callback, says in (
        (keras.callbacks.BackupAndRestore("x"), "resume"),
        (keras.callbacks.EarlyStopping, "not the class"),
    ):
        with pytest.raises(kt.UserError, match=says):
            classifier().fit((X, Y), kt.Phase("head", epochs=1), callbacks=[callback], verbose=False)


def first_losses(**given):
    result = classifier().fit((X, Y), kt.Phase("all", epochs=1, **given.pop("phase", {})), verbose=False, **given)
    return result.history["loss"]


@pytest.fixture(scope="module")
def usual():
    return first_losses()


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ],
    ids=lambda loss: loss if isinstance(loss, str) else f"{type(loss).__name__} {loss.from_logits}",
)
def test_every_form_of_cross_entropy_is_the_usual_one(loss, usual):
    assert first_losses(loss=loss) == pytest.approx(usual, rel=1e-4)


def test_optimizers_and_schedules_as_objects_are_those_of_that_name(usual):
    adam = keras.optimizers.Adam(1e-3)
    assert first_losses(optimizer=adam) == first_losses(phase={"optimizer": "adam"}) == pytest.approx(usual)
    constant = keras.optimizers.schedules.ExponentialDecay(1e-3, 1000, 1.0)
    assert first_losses(phase={"learning_rate": constant}) == pytest.approx(usual)


def test_all_optimizers_of_keras_are_known_by_name():
    for name in OPTIMIZERS:
        assert keras.optimizers.get(name) is not None
        assert kt.Phase("all", optimizer=name).optimizer == name


def test_objects_are_stored_and_resumed_unless_that_cannot_be():
    class Mine(keras.optimizers.SGD):
        pass

    stored = kt.Phase("all", optimizer=keras.optimizers.Lion(3e-4))
    assert stored.learning_rate == pytest.approx(3e-4)
    again = RunConfig.model_validate(RunConfig(phases=[stored]).model_dump(mode="json")).phases[0]
    assert again.optimizer["class_name"] == "Lion"
    assert again.learning_rate == pytest.approx(3e-4)
    live = kt.Phase("all", optimizer=Mine(0.1))
    assert isinstance(live.optimizer, Live)
    assert first_losses(optimizer=Mine(0.01))
    with pytest.raises(
        kt.UserError,
        match="the object Mine was given as a Python object that cannot be stored, so the run cannot be resumed",
    ):
        RunConfig.model_validate(RunConfig(phases=[live]).model_dump(mode="json"))


def test_metrics_get_what_they_expect():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 3)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 50)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, metric, arguments in (
        ("auc", keras.metrics.AUC(), (labels, probabilities)),
        ("k", keras.metrics.SparseTopKCategoricalAccuracy(2), (labels.argmax(1), probabilities)),
        ("loss", keras.metrics.CategoricalCrossentropy(from_logits=True), (labels, logits)),
        ("mse", keras.metrics.MeanSquaredError(), (labels, probabilities)),
    ):
        (own,) = own_metrics([metric])
        own.update_state(labels, logits)
        metric.update_state(*arguments)
        assert float(own.result()) == pytest.approx(float(metric.result()), abs=1e-5), name
    (named,) = own_metrics(["accuracy", "auc"])
    assert named.name == "auc"


def test_metrics_are_in_the_history():
    result = classifier().fit((X, Y), epochs=2, metrics=["auc"], verbose=False)
    assert len(result.history["val_auc"]) == 2
    assert all(0 <= value <= 1 for value in result.history["auc"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: training_loss("categorical_crossentropi", 0), "did you mean"),
        (lambda: training_loss(keras.losses.MeanSquaredError, 0), "not the class"),
        (lambda: training_loss("mse", 0.1), "label_smoothing"),
        (lambda: own_metrics(["aucc"]), "unknown metric"),
        (lambda: own_metrics([keras.metrics.AUC]), r"write AUC\(\)"),
        (lambda: own_metrics([3]), "expected a name"),
        (lambda: own_metrics(["auc", "auc"]), "taken"),
    ],
)
def test_what_is_none_of_these_is_one_line(make, says):
    with pytest.raises(kt.UserError, match=says):
        make()


def test_layers_augment_and_repeat_themselves():
    images = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    labels = np.eye(2, dtype=np.float32)[[0, 1] * 3]
    flip = KerasLayer(keras.layers.RandomFlip("horizontal"))
    one, two, other = (flip.apply(images, labels, np.random.default_rng(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    for given, found in zip(images, one):
        assert (found == given).all() or (found == given[:, ::-1]).all()
    mixed, shares = KerasLayer(keras.layers.MixUp()).apply(images, labels, np.random.default_rng(0))
    assert mixed.shape == images.shape
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    for layer, says in ((keras.layers.Rescaling(1 / 255), "0..255"), (keras.layers.RandomCrop(4, 4), "same shape")):
        with pytest.raises(kt.UserError, match=says):
            KerasLayer(layer).apply(images, labels, np.random.default_rng(0))


def test_layers_beside_the_packages_own_augmentations():
    given = {"augment": [keras.layers.RandomFlip("vertical", seed=5), "horizontal_flip"]}
    assert first_losses(**given) == first_losses(**given)
