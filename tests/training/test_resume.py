"""Interrupted runs go on as if nothing had happened, to the bit."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training import build
from keras_transfer.training.state import TrainingState, newest_state, save_state, within_epoch
from keras_transfer.training.stopping import NOTICE, stop_on_request
from keras_transfer.training.train import resume_run, train
from tests.training.small import PHASES, StopAt, assert_same, figures, like_keras, read_weights, resume, settings

pytestmark = pytest.mark.backend


def cut(photos: Path, output: Path, callback: keras.callbacks.Callback, **more) -> TrainingState | None:
    """Begin a run that a callback interrupts; return what was saved."""
    with pytest.raises(Interrupted) as stop:
        train(settings(photos, output, **more), callbacks=[callback], say=lambda _: None)
    assert stop.value.run == str(output)
    return newest_state(RunDirectory(output).state_file)


@pytest.mark.parametrize(
    ("epochs", "batch", "every", "saved"),
    [
        pytest.param(0, 1, "1 epoch", None, marks=pytest.mark.slow),  # in the first epoch, before anything was saved
        pytest.param(0, 1, "1 step", (0, 0, 1), marks=pytest.mark.slow),
        pytest.param(1, 2, "1 step", (0, 1, 2), marks=pytest.mark.slow),  # at the last batch of an epoch
        (2, 1, "1 epoch", (0, 2, 0)),  # between the phases
        pytest.param(2, 2, "2 steps", (1, 0, 2), marks=pytest.mark.slow),
        (3, 1, "0 seconds", (1, 1, 1)),  # in the last epoch
    ],
)
def test_an_interrupted_run_resumes_to_the_same_bits(whole, tmp_path, epochs, batch, every, saved, monkeypatch):
    photos, whole = whole
    state = cut(photos, tmp_path / "cut", StopAt(epochs, batch), save_every=every)
    assert (None if state is None else (state.phase, state.epoch, state.batch)) == saved
    losses = []
    monkeypatch.setattr(build, "draw_history", lambda run, result: losses.extend(result.iterations))
    assert_same(whole, resume(tmp_path / "cut"))
    assert len(losses) == 4 * 3
    with pytest.raises(UserError, match="is finished"):
        resume_run(tmp_path / "cut")


class StopAfter(keras.callbacks.Callback):
    """Interrupt at a step; counted anew in each process, as private attributes are not part of the state."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_that_is_interrupted_again_and_again(whole, tmp_path):
    photos, whole = whole
    cut(photos, tmp_path / "cut", StopAt(0, 1), save_every="1 step")
    for steps in (2, 1, 3, 2):
        with pytest.raises(Interrupted):
            resume(tmp_path / "cut", callbacks=[StopAfter(steps)])
    assert_same(whole, resume(tmp_path / "cut"))


# A rate that spoils what was learnt, and one by which nothing improves enough to count.
@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [pytest.param("all", 0.1, marks=pytest.mark.exhaustive), ("head", 1e-6)])
def test_counters_of_callbacks_live_on(photos, tmp_path, name, rate):
    more = {
        "phases": [{"name": name, "epochs": 9, "learning_rate": rate, "schedule": "plateau"}],
        "callbacks": {"reduce_lr": {"patience": 1, "min_lr": 0}, "early_stopping": {"patience": 3, "min_delta": 1e-4}},
        "save_every": "1 step",
        "precision": "float32",  # the rates were chosen for it
    }
    whole = train(settings(photos, tmp_path / "whole", **more), say=lambda _: None)
    rates = [row["learning_rate"] for row in whole.read_history()]
    assert len(set(rates)) > 2 and len(rates) < 9  # the rate was reduced, and the phase ended early
    for epochs in range(1, len(rates)):
        output = tmp_path / f"cut{epochs}"
        cut(photos, output, StopAt(epochs, 1), **more)
        assert_same(whole, resume(output))


def test_a_phase_on_cached_views_resumes_to_the_same_bits(photos, tmp_path):
    phases = [{"name": "head", "epochs": 5, "learning_rate": 0.01, "schedule": "cosine"}, PHASES[1]]
    tree = settings(photos, tmp_path).model_dump(exclude_unset=True)
    tree["data"]["views"] = 3
    more = {"data": tree["data"], "phases": phases, "save_every": "1 step"}
    said = []
    whole = train(settings(photos, tmp_path / "whole", **more), say=said.append)
    assert sum("view" in line and "images/s" in line for line in said) == 3
    state = cut(photos, tmp_path / "cut", like_keras(StopAt)(3), **more)
    assert (state.epoch, state.batch) == (3, 1)
    said = []
    resumed = resume(tmp_path / "cut", say=said.append)
    assert sum("found in" in line for line in said) == 4
    assert_same(whole, resumed)


class SignalAt(StopAt):
    """Like somebody at the keyboard."""

    kind = signal.SIGINT

    def stop(self):
        os.kill(os.getpid(), self.kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_first(whole, tmp_path, capfd, kind):
    photos, whole = whole
    before = signal.getsignal(kind)
    callback = SignalAt(1, 1)
    callback.kind = kind
    state = cut(photos, tmp_path / "cut", callback, save_every="1000 minutes")
    assert (state.epoch, state.batch) == (1, 2)
    assert NOTICE in capfd.readouterr().err
    assert signal.getsignal(kind) is before
    assert_same(whole, resume(tmp_path / "cut"))


@pytest.mark.slow
def test_a_signal_in_validation_waits_for_the_epochs_end(whole, tmp_path):
    class InValidation(SignalAt):
        on_train_batch_end = keras.callbacks.Callback.on_train_batch_end

        def on_test_batch_end(self, batch, logs=None):
            if self.left == 1:
                self.stop()

    photos, whole = whole
    state = cut(photos, tmp_path / "cut", InValidation(2), save_every="1000 minutes")
    assert (state.epoch, state.batch) == (2, 0) and state.phase_done
    assert_same(whole, resume(tmp_path / "cut"))


@pytest.mark.slow
def test_a_second_signal_stops_at_once(photos, tmp_path):
    class Impatient(SignalAt):
        def stop(self):
            super().stop()
            super().stop()
            raise AssertionError("went on")

    assert cut(photos, tmp_path / "cut", Impatient(0, 0), save_every="1000 minutes") is None


def test_signals_outside_the_main_thread_are_the_callers():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_on_request():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_request() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_another_batch_size_goes_on_after_the_same_images(photos, tmp_path, monkeypatch):
    cut(photos, tmp_path / "cut", StopAt(1, 1), save_every="1 step")
    served = []
    batch = Batches.batch
    monkeypatch.setattr(
        Batches, "batch", lambda self, i: served.append((self.loader.shuffle, self.epoch, i)) or batch(self, i)
    )
    run = resume(tmp_path / "cut", "data.batch_size=8", "phases.1.epochs=1")
    assert {i for shuffle, epoch, i in served if shuffle and epoch == 1} == {2, 3, 4, 5}  # 16 of 42 images were done
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 1]


@pytest.mark.slow
def test_a_told_learning_rate_takes_effect_within_a_phase(photos, tmp_path):
    phases = [{"name": "head", "epochs": 3, "learning_rate": 0.01, "schedule": "constant"}]
    cut(photos, tmp_path / "cut", StopAt(1, 1), save_every="1 step", phases=phases)
    run = resume(tmp_path / "cut", "phases.0.learning_rate=0.002")
    assert [row["learning_rate"] for row in run.read_history()] == pytest.approx([0.01, 0.01, 0.002])


@pytest.mark.slow
def test_the_best_model_of_before_is_not_lost(photos, tmp_path):
    """After the interruption everything gets worse: the rate is absurd."""
    cut(photos, tmp_path / "cut", StopAt(2, 1), save_every="1 step", precision="float32")
    best = read_weights(RunDirectory(tmp_path / "cut"))
    run = resume(tmp_path / "cut", "phases.1.learning_rate=0.9", "phases.1.warmup_epochs=0", "phases.1.schedule=cosine")
    assert run.read_json(run.metrics)["best"]["phase"] == "head"
    for a, b in zip(best, read_weights(run), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(figures(run)) == 4


@pytest.mark.slow
def test_the_seconds_before_an_interruption_count(photos, tmp_path):
    state = cut(photos, tmp_path / "cut", StopAt(1, 1), save_every="1 step")
    assert state.seconds > sum(row["seconds"] for row in state.history) > 0
    state.seconds += 5000
    save_state(within_epoch(RunDirectory(tmp_path / "cut").state_file), state)
    run = resume(tmp_path / "cut")
    assert run.read_json(run.metrics)["seconds"] > 5000
