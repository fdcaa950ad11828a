"""Saving and restoring an unfinished run at the end of every epoch.

One file holds everything that the next epoch depends on: variables of the model and of the optimizer, what the
callbacks know, the history, the phase and the epoch. Data order and augmentation are functions of the seed and
the epoch, so they need no state.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write
from keras_transfer.safety.archive import read_npz

PLAIN = (int, float, bool, str, type(None))


@dataclass
class TrainingState:
    """Where a run stands after an epoch."""

    phase: int = 0
    epoch: int = 0
    phase_done: bool = False
    model: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[list[Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: list[np.ndarray] = field(default_factory=list)


ARRAYS = ("model", "optimizer", "best_weights")


def save_state(path: Path, state: TrainingState) -> None:
    """Write ``state`` to one ``.npz`` file, atomically."""
    plain = {key: value for key, value in vars(state).items() if key not in ARRAYS}
    arrays = {f"{kind}_{i}": value for kind in ARRAYS for i, value in enumerate(getattr(state, kind))}
    arrays["json"] = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


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


def _count(names: list[str], kind: str) -> int:
    return sum(name.rpartition("_")[0] == kind for name in names)


def values(variables: list[Any]) -> list[np.ndarray]:
    """Copy Keras variables to NumPy."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: list[Any], stored: list[np.ndarray]) -> None:
    """Copy NumPy arrays into Keras variables of the same shapes.

    Raises:
        UserError: number or shapes differ (another configuration or version).
    """
    if [tuple(v.shape) for v in variables] != [a.shape for a in stored]:
        raise UserError("the saved state belongs to another model or optimizer than the configuration builds")
    for variable, array in zip(variables, stored):
        variable.assign(array)


def callback_memory(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return the plain attributes of a callback: waits, counters, best values."""
    return {
        key: float(value) if isinstance(value, np.floating) else value
        for key, value in vars(callback).items()
        if isinstance(value, (*PLAIN, np.floating)) and not key.startswith("_")
    }


class StateKeeper(keras.callbacks.Callback):
    """Save the state after an epoch; must be the last callback, so that the others are up to date.

    Args:
        path: the state file.
        whole: the model that is kept, of which the trained one may be the upper part.
        keep: callbacks whose plain attributes are saved (those that Keras resets in ``on_train_begin`` included).
        fill: called with the new :class:`TrainingState` to add what only the run knows.
        every: seconds between two saves, at least; the last epoch of a phase is saved in any case.
        resumed: a state to restore when training begins.
    """

    def __init__(
        self,
        path: Path,
        whole: keras.Model,
        keep: list[keras.callbacks.Callback],
        fill: Callable[[TrainingState], None],
        every: float = 0.0,
        resumed: TrainingState | None = None,
    ):
        super().__init__()
        self.path, self.whole, self.keep, self.fill = path, whole, keep, fill
        self.every, self.resumed = every, resumed
        self._saved = time.monotonic()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Give the callbacks back what they knew, after their own reset."""
        if self.resumed is None:
            return
        for callback, memory in zip(self.keep, self.resumed.callbacks):
            vars(callback).update(memory)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, if it is time."""
        model = self.model
        done = bool(model.stop_training) or epoch + 1 >= self.params["epochs"]
        if not done and time.monotonic() - self._saved < self.every:
            return
        state = TrainingState(
            epoch=epoch + 1,
            phase_done=done,
            model=values(self.whole.variables),
            optimizer=values(model.optimizer.variables),
            callbacks=[callback_memory(callback) for callback in self.keep],
        )
        self.fill(state)
        save_state(self.path, state)
        self._saved = time.monotonic()
