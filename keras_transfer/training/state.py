"""Saving and restoring an unfinished run, at any batch.

A file holds everything that the next batch depends on: variables of the model, the optimizer and the metrics, what
the callbacks know, the history, the phase, the epoch and the batch. Data order and augmentation are functions of the
seed and these numbers, so they need no state.

There are two files: a state from the end of an epoch, whose weights validation has seen, stays until the next one; one
from within an epoch lies beside it. If the loss then stops being a number, only the first is worth going on from.
"""

from __future__ import annotations

import inspect
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer.config.interval import Interval
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write
from keras_transfer.safety.archive import read_npz
from keras_transfer.training.stopping import StopRequest

PLAIN = (int, float, bool, str, type(None))


@dataclass
class TrainingState:
    """Where a run stands.

    Attributes:
        phase: number of the phase, from 0.
        phase_done: whether its last epoch has ended.
        epoch: epochs of the phase that have ended.
        batch: batches of the epoch after those that have been trained on.
        learning_rate: that of the phase's configuration.
        seconds: of the run so far, preparations and earlier processes included.
        model: values of all variables of the whole model.
        optimizer: values of the optimizer's variables.
        metrics: values of the metrics' variables, within an epoch.
        callbacks: plain attributes of Keras's and the caller's callbacks.
        average: kind of the averages of the weights, and how often weights were added; nothing without them.
        averages: values of the averages.
        audit: digests of the variables when the phase began.
        so_far: what the history knows of the epoch under way.
        history: a row an epoch.
        iterations: (phase, loss) of every training step.
        phases: summaries of the phases before this one.
        best: score, phase, epoch and figure of the best model.
        best_weights: its weights.
    """

    phase: int = 0
    phase_done: bool = False
    epoch: int = 0
    batch: int = 0
    learning_rate: float = 0.0
    seconds: float = 0.0
    model: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    metrics: list[np.ndarray] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    average: dict[str, Any] = field(default_factory=dict)
    averages: list[np.ndarray] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    so_far: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[list[Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: list[np.ndarray] = field(default_factory=list)

    def __str__(self) -> str:
        batch = f"batch {self.batch} of " if self.batch else ""
        return f"{batch}epoch {self.epoch + bool(self.batch)}"


ARRAYS = ("model", "optimizer", "metrics", "averages", "best_weights")


def save_state(path: Path, state: TrainingState) -> None:
    """Write ``state`` to one ``.npz`` file, atomically."""
    plain = {key: value for key, value in vars(state).items() if key not in ARRAYS}
    arrays = {f"{kind}_{i}": value for kind in ARRAYS for i, value in enumerate(getattr(state, kind))}
    arrays["json"] = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def load_state(path: Path) -> TrainingState:
    """Read what :func:`save_state` wrote.

    Raises:
        UserError: there is no state, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"nothing to resume: {path.parent.parent} holds no saved state (finished, or never began)")
    try:
        stored = read_npz(path, path)
        plain = json.loads(stored["json"].tobytes().decode())
        lists: dict[str, Any] = {
            kind: [stored[f"{kind}_{i}"] for i in range(_count(list(stored), kind))] for kind in ARRAYS
        }
        return TrainingState(**plain, **lists)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"the saved state {path} cannot be read: {error}") from error


def within_epoch(path: Path) -> Path:
    """Return the file beside a state file that holds a later state, from within an epoch."""
    return path.with_name("within_epoch.npz")


def newest_state(path: Path) -> TrainingState | None:
    """Return the state to go on from, or None if nothing was saved yet.

    Raises:
        UserError: it cannot be read.
    """
    found = [load_state(file) for file in (path, within_epoch(path)) if file.is_file()]
    return max(found, key=lambda state: (state.phase, state.phase_done, state.epoch, state.batch), default=None)


def forget_unproven(path: Path) -> None:
    """Remove a state from within an epoch: what came after it has shown that its weights are no good."""
    within_epoch(path).unlink(missing_ok=True)


def _count(names: list[str], kind: str) -> int:
    return sum(name.rpartition("_")[0] == kind for name in names)


def values(variables: list[Any]) -> list[np.ndarray]:
    """Copy Keras variables to NumPy."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def check_shapes(variables: list[Any], stored: list[np.ndarray]) -> None:
    """Raise ``UserError`` unless there are as many variables as stored arrays, of the same shapes."""
    if [tuple(v.shape) for v in variables] != [a.shape for a in stored]:
        raise UserError("the saved state belongs to another model or optimizer than the configuration builds")


def assign(variables: list[Any], stored: list[np.ndarray]) -> None:
    """Copy NumPy arrays into Keras variables of the same shapes.

    Raises:
        UserError: number or shapes differ (another configuration or version).
    """
    check_shapes(variables, stored)
    for variable, array in zip(variables, stored):
        variable.assign(array)


def callback_memory(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return the plain attributes of a callback: waits, counters, best values (scalar tensors, on some backends).

    Keras's own arguments are settings, not memory; it turns the sign of ``min_delta`` once in every process.
    """
    keras_own = [kind for kind in type(callback).__mro__ if kind.__module__.split(".")[0] == "keras"]
    settings = {name for kind in keras_own for name in inspect.signature(kind.__init__).parameters}  # type: ignore[misc]
    found = {
        key: _number(value) for key, value in vars(callback).items() if not key.startswith("_") and key not in settings
    }
    return {key: value for key, value in found.items() if isinstance(value, PLAIN)}


def _number(value: Any) -> Any:
    is_scalar = hasattr(value, "shape") and tuple(value.shape) == ()
    return keras.ops.convert_to_numpy(value).item() if is_scalar else value


class StateKeeper(keras.callbacks.Callback):
    """Save the state during a phase; must be the last callback, so that the others are up to date.

    Args:
        path: the state file; a state from within an epoch is kept beside it, until the epoch's end is saved.
        whole: the model that is kept, of which the trained one may be the upper part.
        train: what is trained on.
        epochs: of the phase.
        keep: callbacks whose plain attributes are saved (those that Keras resets in ``on_train_begin`` included).
        fill: called with the new :class:`TrainingState` to add what only the run knows.
        every: between two saves; the end of a phase is saved in any case.
        stop: once it is asked to, the state is saved and training interrupted.
        resumed: a state to restore when training begins.
    """

    def __init__(
        self,
        path: Path,
        whole: keras.Model,
        train: Batches,
        epochs: int,
        keep: list[keras.callbacks.Callback],
        fill: Callable[[TrainingState], None],
        every: Interval,
        stop: StopRequest,
        resumed: TrainingState | None = None,
    ):
        super().__init__()
        self.path, self.whole, self.train, self.epochs = path, whole, train, epochs
        self.keep, self.fill, self.every, self.stop = keep, fill, every, stop
        self._memory = resumed.callbacks if resumed is not None else None
        self._metrics = resumed.metrics if resumed is not None else []
        self._epoch, self._within = 0, bool(resumed and resumed.batch)
        self._start_counting()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give the callbacks back what they knew, after their own reset."""
        for callback, memory in zip(self.keep, self._memory or []):
            vars(callback).update(memory)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Remember what the callbacks know, for a second ``fit`` that goes on with the phase."""
        self._memory = [callback_memory(callback) for callback in self.keep]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Put the metrics back, after their own reset."""
        self._epoch = epoch
        if self._metrics:
            if len(self.model.metrics_variables) < len(self._metrics):  # TensorFlow builds them in the first step
                self.model.test_on_batch(*self.train.batch(self.train.first))
            assign(self.model.metrics_variables, self._metrics)
            self._metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Save, if it is time."""
        self._steps += 1
        if batch + 1 < len(self.train):  # after the last batch the epoch's end follows, which says more
            self._save_if(lambda: TrainingState(
                epoch=self._epoch,
                batch=self.train.first + batch + 1,
                metrics=values(self.model.metrics_variables),
            ))  # fmt: skip

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, if it is time."""
        self._epochs += 1
        done = bool(self.model.stop_training) or epoch + 1 >= self.epochs
        self._save_if(lambda: TrainingState(epoch=epoch + 1, phase_done=done), always=done or self._within)

    def _save_if(self, make: Callable[[], TrainingState], always: bool = False) -> None:
        asked = self.stop.asked  # looked at once: what comes while the state is written waits for the next batch
        seconds = time.monotonic() - self._saved
        if always or asked or self.every.is_over(seconds=seconds, steps=self._steps, epochs=self._epochs):
            self._save(make())
        if asked:
            raise KeyboardInterrupt

    def _save(self, state: TrainingState) -> None:
        model = self.model  # brings the trained values back into the variables, on jax
        state.model = values(self.whole.variables)
        if not all(np.isfinite(array).all() for array in state.model):
            return  # the last good state stays; the next loss, or the epoch's end, ends the training
        state.optimizer = values(model.optimizer.variables)
        state.callbacks = [callback_memory(callback) for callback in self.keep]
        self.fill(state)
        if state.batch:
            save_state(within_epoch(self.path), state)
        else:
            save_state(self.path, state)
            within_epoch(self.path).unlink(missing_ok=True)
        self._within = bool(state.batch)
        self._start_counting()

    def _start_counting(self) -> None:
        self._saved, self._steps, self._epochs = time.monotonic(), 0, 0
