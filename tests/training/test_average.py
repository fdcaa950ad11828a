"""Weight averaging: equal to NumPy, validated and saved, without influence on training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training.average import measure_statistics
from keras_transfer.training.state import newest_state
from keras_transfer.training.train import train
from tests.conftest import make_photos
from tests.training.small import PHASES, StopAt, assert_same, every_epoch, like_keras, read_weights, resume, settings
from tests.training.test_accumulate import images

pytestmark = pytest.mark.backend

KINDS = ("ema", "swa")


class Watch(keras.callbacks.Callback):
    """Record the weights after every step and at the end of every epoch."""

    def __init__(self, model):
        super().__init__()
        self.whole = model
        self.began, self.steps, self.ends = model.get_weights(), [], []

    def weights(self):
        _ = self.model
        return self.whole.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.weights())

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append((self.weights(), dict(logs)))


def by_hand(kind, watch, momentum, steps):
    """Compute the averages at the end of every epoch in float64."""
    weights = [[w.astype(np.float64) for w in step] for step in watch.steps]
    if kind == "swa":
        ends = weights[steps - 1 :: steps]
        return [[np.mean(same, axis=0) for same in zip(*ends[: i + 1])] for i in range(len(ends))]
    average, found = [w.astype(np.float64) for w in watch.began], []
    for number, step in enumerate(weights, 1):
        keep = min(momentum, (1 + number) / (10 + number))
        average = [keep * a + (1 - keep) * w for a, w in zip(average, step)]
        found += [average] if number % steps == 0 else []
    return found


def fit(phase, watch=Watch, **options):
    data = images()
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16, precision="float32")
    watching = watch(classifier.model)
    options = {"cache": "memory", "workers": 1, **options}
    result = classifier.fit(data, [phase], batch_size=16, callbacks=[watching], verbose=False, **options)
    return classifier, data, watching, result


@pytest.mark.parametrize(
    ("kind", "more", "watch", "options"),
    [
        ("ema", {"optimizer": "adamw"}, Watch, {"augment": ["horizontal_flip"]}),
        ("ema", {"train": "last 1 groups", "augment": False, "optimizer": "sgd"}, like_keras(Watch), {}),
        pytest.param(
            "ema", {"optimizer": "adam", "ema_momentum": 0.5}, Watch, {"accumulate": 3}, marks=pytest.mark.slow
        ),
        ("swa", {"batch_norm": "frozen"}, Watch, {"augment": ["horizontal_flip"], "accumulate": 3}),
        pytest.param(
            "swa",
            {"train": "last 1 groups", "augment": False, "batch_norm": "frozen"},
            like_keras(Watch),
            {},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ema", "ema-on-features", "ema-in-parts", "swa-in-parts", "swa-on-features"],
)
def test_averages_equal_numpy_and_are_validated_and_saved(kind, more, watch, options):
    phase = kt.Phase("all", **{"epochs": 4, "learning_rate": 0.02, "schedule": "constant", "average": kind, **more})
    classifier, data, watching, result = fit(phase, watch, **options)
    averages = by_hand(kind, watching, phase.ema_momentum, steps=3)
    assert len(averages) == len(watching.ends) == 4
    for expected, (weights, _) in zip(averages, watching.ends, strict=True):
        for a, b in zip(expected, weights, strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6)
    # The saved weights are those validated in the best epoch, not the training weights.
    best = result.best["epoch"] - 1
    for a, b in zip(watching.ends[best][0], classifier.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(averages[-1], watching.steps[-1], strict=True))
    measured = classifier.evaluate(data.val)
    for figure in ("loss", "accuracy"):
        assert result.history[best][f"val_{figure}"] == pytest.approx(measured[figure], abs=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("ema", marks=pytest.mark.slow), "swa"])
def test_averages_do_not_influence_training(kind):
    options = {"epochs": 3, "learning_rate": 0.02, "schedule": "cosine"}
    averaged = fit(kt.Phase("all", average=kind, **options), augment=["horizontal_flip"])
    plain = fit(kt.Phase("all", **options), augment=["horizontal_flip"])
    assert averaged[3].iterations == plain[3].iterations
    for one, other in zip(averaged[2].steps[-1], plain[2].steps[-1], strict=True):
        np.testing.assert_array_equal(one, other)
    rows = [[row["val_loss"] for row in found[3].history] for found in (averaged, plain)]
    assert rows[0] != rows[1]


def batches_of(classifier, data, batch_size, augment=("horizontal_flip",)):
    options = {"batch_size": batch_size, "class_weights": "none", "workers": 1}
    return classifier._setup(data, None, augment, options, 0.0).train


def test_measured_statistics_equal_those_of_the_batches_and_nothing_else_changes():
    data = images()
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16, precision="float32")
    model, batches = classifier.model, batches_of(classifier, data, 16)
    batches.set_epoch(4)
    variables = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}
    moments = {layer.name: layer.momentum for layer in model.layers if hasattr(layer, "momentum")}
    measure_statistics(model, batches, epoch=1, micro_batch_size=16)
    assert batches.epoch == 4
    assert moments and moments == {la.name: la.momentum for la in model.layers if hasattr(la, "momentum")}
    moved = {
        path for path, before in variables.items() if (keras.ops.convert_to_numpy(_named(model, path)) != before).any()
    }
    assert moved == {path for path in variables if "moving" in path}
    # Checked in NumPy for the first layer, whose input depends on no other statistics.
    first = model.get_layer("stem_bn")
    below = keras.Model(model.inputs, first.input)
    batches.set_epoch(1)
    found = [np.float64(keras.ops.convert_to_numpy(below(batches.batch(i)[0]))) for i in range(3)]
    for variable, moment in ((first.moving_mean, np.mean), (first.moving_variance, np.var)):
        expected = sum(len(x) * moment(x, axis=(0, 1, 2)) for x in found) / sum(map(len, found))
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-4, atol=1e-5)
    batches.loader.close()


def _named(model, path):
    return next(v for v in model.variables if v.path == path)


@pytest.mark.slow
def test_with_a_single_batch_training_and_inference_mode_agree():
    data = images(40)
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16, dropout=0.0, precision="float32")
    batches = batches_of(classifier, data, 64)

    def gap():
        modes = [keras.ops.convert_to_numpy(classifier.model(batches.batch(0)[0], training=m)) for m in (False, True)]
        return np.abs(modes[0] - modes[1]).max()

    assert gap() > 1e-2
    measure_statistics(classifier.model, batches, epoch=0, micro_batch_size=64)
    assert gap() < 1e-4
    batches.loader.close()


@pytest.mark.parametrize("features", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_swa_statistics_are_measured_in_every_epoch(features):
    what = {"train": "last 1 groups", "augment": False, "batch_norm": "train"} if features else {}
    phase = kt.Phase("all", epochs=2, learning_rate=0.02, average="swa", **what)
    augment = [] if features else ["horizontal_flip"]
    classifier, data, watching, _ = fit(phase, like_keras(Watch) if features else Watch, augment=augment)
    batches = batches_of(classifier, data, 16, augment)
    for epoch, (weights, _) in enumerate(watching.ends):
        classifier.model.set_weights(weights)
        measure_statistics(classifier.model, batches, epoch, micro_batch_size=16)
        for a, b in zip(weights, classifier.model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    batches.loader.close()


@pytest.fixture(scope="module", params=["ema", pytest.param("swa", marks=pytest.mark.slow)])
def averaged(request, tmp_path_factory):
    """Images, a phase with averages, and an uninterrupted run of it."""
    folder = tmp_path_factory.mktemp(request.param)
    photos = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    phase = {**PHASES[1], "average": request.param, "epochs": 3}
    config = every_epoch(settings(photos, folder / "run", phases=[phase]))
    return photos, phase, train(config, say=lambda _: None)


@pytest.mark.parametrize(
    ("epochs", "batch"),
    [pytest.param(0, 1, marks=pytest.mark.slow), (1, 1), pytest.param(2, 2, marks=pytest.mark.slow)],
)
def test_an_interrupted_phase_resumes_bit_identically(averaged, tmp_path, epochs, batch):
    photos, phase, whole = averaged
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "cut", "1 step", phases=[phase]), callbacks=[StopAt(epochs, batch)],
              say=lambda _: None)  # fmt: skip
    state = newest_state(RunDirectory(tmp_path / "cut").state_file)
    done = state.epoch if phase["average"] == "swa" else 3 * state.epoch + state.batch
    assert state.average == {"kind": phase["average"], "count": done}
    assert bool(state.averages) is bool(done)
    assert_same(whole, resume(tmp_path / "cut"))


def test_the_checkpoint_of_every_epoch_has_the_averages(averaged):
    run = averaged[2]
    best = run.read_json(run.metrics)["best"]
    kept = keras.models.load_model(run.checkpoint(1, best["epoch"])).get_weights()
    for a, b in zip(kept, read_weights(run), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_averages_enabled_on_resume_start_there(photos, tmp_path):
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "cut", "1 step"), callbacks=[StopAt(3, 1)], say=lambda _: None)
    said = []
    run = resume(tmp_path / "cut", "phases.1.average=ema", say=said.append)
    assert "phase all: validated and kept are averages of the weights (ema)" in said
    assert len(run.read_history()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_with_an_automatic_learning_rate(photos, tmp_path, kind):
    phases = [{"name": "all", "epochs": 1, "learning_rate": "auto", "average": kind}]
    run = train(settings(photos, tmp_path / "run", phases=phases), say=lambda _: None)
    assert len(run.read_history()) == 1


@pytest.mark.parametrize(("key", "value"), [("average", "mean"), ("ema_momentum", 1.0), ("ema_momentum", "high")])
def test_a_bad_value_is_a_one_line_error(photos, tmp_path, key, value):
    with pytest.raises(UserError, match=rf"phases\.0\.{key}") as refused:
        settings(photos, tmp_path / "run", phases=[{**PHASES[0], key: value}])
    assert len(str(refused.value).splitlines()) == 1
