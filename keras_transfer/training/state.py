"""Save and restore an unfinished run, at any batch.

A state file holds everything that the next batch depends on: the variables of model, optimizer and metrics, the counters of
the callbacks, the history, and the position (phase, epoch, batch). Data order and augmentation are functions of the seed and
that position, so they need no state.

There are two files: the state from the end of an epoch, whose weights have been validated, is kept until the next one; a state
from within an epoch is stored beside it. If the loss becomes non-finite, training can only be resumed from the first.
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
    """The position and the variables of an unfinished run.

    Attributes:
        phase: number of the phase, from 0.
        phase_done: whether the phase has ended.
        epoch: completed epochs of the phase.
        batch: completed batches of the next epoch.
        learning_rate: learning rate of the phase, as configured or found.
        seconds: duration of the run so far, including preparation and earlier processes.
        model: values of all variables of the whole model.
        optimizer: values of the optimizer's variables.
        metrics: values of the metrics' variables, within an epoch.
        callbacks: plain attributes of Keras's callbacks and the caller's.
        average: kind of weight averaging and number of updates; empty without averaging.
        averages: averaged weights.
        audit: digests of the variables at the start of the phase.
        so_far: partial history of the current epoch.
        history: a row an epoch.
        iterations: (phase, loss) of every training step.
        phases: summaries of the completed phases.
        best: score, phase, epoch and monitored metric of the best model.
        best_weights: weights of the best model.
        outcomes: of the phases that were solved or trained in folds.
        out_of_fold: calibrated out-of-fold logits of each of these phases, float64 (n, C); (0, C) where there are none.
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
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    out_of_fold: list[np.ndarray] = field(default_factory=list)

    def __str__(self) -> str:
        batch = f"batch {self.batch} of " if self.batch else ""
        return f"{batch}epoch {self.epoch + bool(self.batch)}"


ARRAYS = ("model", "optimizer", "metrics", "averages", "best_weights", "out_of_fold")


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
        raise UserError(
            f"the saved state {path} cannot be read: {error}; remove it to resume from the run's other state, or from the beginning"
        ) from error


def within_epoch(path: Path) -> Path:
    """Return the path of the state from within an epoch, beside the state file ``path``."""
    return path.with_name("within_epoch.npz")


def newest_state(path: Path) -> TrainingState | None:
    """Return the state to resume from, or None if nothing has been saved.

    Raises:
        UserError: it cannot be read.
    """
    found = [load_state(file) for file in (path, within_epoch(path)) if file.is_file()]
    return max(found, key=lambda state: (state.phase, state.phase_done, state.epoch, state.batch), default=None)


def forget_unproven(path: Path) -> None:
    """Remove the state from within an epoch, after the loss has become non-finite."""
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
    """Assign NumPy arrays to Keras variables of the same shapes.

    Raises:
        UserError: number or shapes differ, because the configuration or a version changed.
    """
    check_shapes(variables, stored)
    for variable, array in zip(variables, stored):
        variable.assign(array)


def callback_memory(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return the plain attributes of a callback: waits, counters, best values (scalar tensors on some backends).

    Constructor arguments of Keras's callbacks are left out: Keras flips the sign of ``min_delta`` in every process.
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
    """Save the state during a phase. Must be the last callback, so that the others are up to date.

    Args:
        path: the state file; a state from within an epoch is stored beside it until the end of the epoch is saved. None: nothing is
            written, because another process of a group does; the rest is done all the same.
        whole: the complete model; only its upper part may be trained.
        train: training batches.
        epochs: number of epochs of the phase.
        keep: callbacks whose plain attributes are saved, including those that Keras resets in ``on_train_begin``.
        fill: called with each new :class:`TrainingState` to add what only the runner knows.
        every: interval between two saves; the end of a phase is always saved.
        stop: once a stop is requested, the state is saved and training interrupted.
        resumed: a state to restore when training begins.
    """

    def __init__(
        self,
        path: Path | None,
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
        """Restore the attributes of the callbacks, after Keras has reset them."""
        for callback, memory in zip(self.keep, self._memory or []):
            vars(callback).update(memory)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Record the attributes of the callbacks, for a second ``fit`` that continues the phase."""
        self._memory = [callback_memory(callback) for callback in self.keep]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Restore the metrics, after Keras has reset them."""
        self._epoch = epoch
        if self._metrics:
            if len(self.model.metrics_variables) < len(self._metrics):  # TensorFlow builds them in the first step
                self.model.test_on_batch(*self.train.batch(self.train.first))
            assign(self.model.metrics_variables, self._metrics)
            self._metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Save if due."""
        self._steps += 1
        if batch + 1 < len(self.train):  # the end of the epoch follows the last batch, and is saved instead
            self._save_if(lambda: TrainingState(
                epoch=self._epoch,
                batch=self.train.first + batch + 1,
                metrics=values(self.model.metrics_variables),
            ))  # fmt: skip

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save if due."""
        self._epochs += 1
        done = bool(self.model.stop_training) or epoch + 1 >= self.epochs
        self._save_if(lambda: TrainingState(epoch=epoch + 1, phase_done=done), always=done or self._within)

    def _save_if(self, make: Callable[[], TrainingState], always: bool = False) -> None:
        asked = self.stop.asked  # read once: a request during the save is handled after the next batch
        seconds = time.monotonic() - self._saved
        if always or asked or self.every.is_over(seconds=seconds, steps=self._steps, epochs=self._epochs):
            self._save(make())
        if asked:
            raise KeyboardInterrupt

    def _save(self, state: TrainingState) -> None:
        if self.path is None:
            return
        model = self.model  # on jax, copies the trained values back to the variables
        state.model = values(self.whole.variables)
        if not all(np.isfinite(array).all() for array in state.model):
            return  # keep the last good state; the next loss or the end of the epoch stops training
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
