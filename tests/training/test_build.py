"""Optimizers, schedules, callbacks and class weights."""

from __future__ import annotations

import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_transfer.config.schema import Phase
from keras_transfer.training.callbacks import BestModel, LossNotFinite, RunHistory, StopOnNaN
from keras_transfer.training.optimizer import PhaseSchedule, make_optimizer
from keras_transfer.training.progress import Progress, _clock

pytestmark = pytest.mark.backend


def small_model():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_cosine_rises_linearly_and_falls_to_nothing():
    schedule = PhaseSchedule("cosine", 0.1, steps=100, warmup_steps=10)
    assert rates(schedule, [0, 4, 9]) == pytest.approx([0.01, 0.05, 0.1])
    assert rates(schedule, [55, 100]) == pytest.approx([0.05, 0.0], abs=1e-7)


def test_one_cycle_peaks_after_three_tenths():
    schedule = PhaseSchedule("one_cycle", 0.1, steps=100)
    assert rates(schedule, [0, 30, 100]) == pytest.approx([0.004, 0.1, 1e-5], rel=1e-4)
    assert PhaseSchedule(**schedule.get_config()).get_config() == schedule.get_config()


def test_constant_with_warm_up():
    assert rates(PhaseSchedule("constant", 0.1, 100, 2), [0, 1, 2, 99]) == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimizers(name, kind):
    optimizer = make_optimizer(Phase("all", optimizer=name, learning_rate=0.01, weight_decay=0.1), 10, small_model())
    assert type(optimizer).__name__ == kind
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(0.01)


def test_weight_decay_spares_biases_and_norms():
    model = small_model()
    optimizer = make_optimizer(
        Phase("all", optimizer="sgd", learning_rate=0.1, weight_decay=0.5, momentum=0.0), 10, model
    )
    optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
    for variable in model.trainable_variables:
        expected = 0.95 if len(variable.shape) > 1 else 1.0
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-6)


def test_best_model_ties_in_accuracy_go_to_the_lower_loss():
    best = BestModel("val_accuracy")
    assert best.score({"val_accuracy": 0.9, "val_loss": 0.3}) < best.score({"val_accuracy": 0.9, "val_loss": 0.4})
    assert best.score({"val_accuracy": 0.9, "val_loss": 9.0}) < best.score({"val_accuracy": 0.8, "val_loss": 0.1})


def test_a_worse_model_never_takes_the_place_of_a_better_one():
    saved = []
    best = BestModel("val_loss", save=lambda _: saved.append(1))
    best.set_model(small_model())
    for epoch, loss in enumerate([1.0, 0.5, 0.7, float("nan"), 0.4]):
        best.on_epoch_end(epoch, {"val_loss": loss})
    assert len(saved) == 3
    assert best.found["epoch"] == 5


class Images(list):
    def image_name(self, i):
        return f"{i}.png"


class FakeBatches:
    def __init__(self, sizes):
        self.sizes, self.epoch, self.first = sizes, 0, 0
        ends = np.cumsum(sizes)
        self.loader = SimpleNamespace(
            waited=0.5,
            reset=lambda: None,
            split=Images(range(sum(sizes))),
            positions=lambda epoch, i: np.arange(ends[i] - sizes[i], ends[i]),
        )

    def __len__(self):
        return len(self.sizes)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def batch_length(self, i):
        return self.sizes[i]


def test_nan_stops_after_its_batch():
    stop = StopOnNaN()
    stop.train, stop.phase = FakeBatches([4, 4]), "head"
    stop.on_epoch_begin(2)
    stop.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(LossNotFinite, match="the loss became nan in batch 2 of epoch 3 of phase head") as stopped:
        stop.on_train_batch_end(1, {"loss": float("nan")})
    assert stopped.value.where["images"] == [{"index": i, "name": f"{i}.png"} for i in range(4, 8)]


def test_iteration_losses_are_recovered_from_the_running_mean():
    losses, sizes = [2.0, 1.0, 4.0], [4, 4, 2]
    history = RunHistory()
    history.train, history.phase = FakeBatches(sizes), "head"
    history.set_model(small_model())
    history.model.compile("sgd")
    history.on_epoch_begin(0)
    for i in range(3):
        mean = np.average(losses[: i + 1], weights=sizes[: i + 1])
        history.on_train_batch_end(i, {"loss": mean})
    assert [round(loss, 6) for _, loss in history.iterations] == losses


def test_progress_writes_a_line_an_epoch_with_time_left_and_speed():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.train, progress.phase = FakeBatches([4, 4]), "head"
    progress.epochs = 3
    progress.live, progress.console = True, Console(file=stream, force_terminal=True, width=120)
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0, {"loss": 1.0})
    progress.on_train_batch_end(1, {"loss": 1.0})
    progress.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.5})
    text = stream.getvalue()
    assert (
        "head 1/3" in text and "1/2" in text and "images/s" in text and "ETA" in text and "val_accuracy 0.5000" in text
    )


def test_progress_survives_a_closed_stream():
    stream = io.StringIO()
    progress = Progress(stream)
    stream.close()
    progress._write("x")


def test_clock():
    assert [_clock(s) for s in (-1, 5, 65, 3700)] == ["0:00", "0:05", "1:05", "1:01:40"]
