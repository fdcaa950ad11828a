"""Events of a training, and the handler that ignores them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras


class TrainingEvents:
    """Handler of the events of the phase runner; it ignores them all. `run_events` stores them in a run directory.

    Attributes:
        wants_every_epoch: whether :meth:`epoch_model` is called at all.
    """

    wants_every_epoch = False

    def begun(self) -> None:
        """Training starts; a saved state, if any, has been restored."""

    def rate_found(self, phase: int, rate: float) -> None:
        """A range test found the learning rate of a phase (numbered from 0)."""

    def improved(self, model: keras.Model) -> None:
        """``model`` has the best weights so far."""

    def epoch_ended(self, rows: list[dict[str, Any]]) -> None:
        """An epoch has ended; ``rows`` is the complete history, one row per epoch."""

    def epoch_model(self, model: keras.Model, phase: int, epoch: int) -> None:
        """``model`` at the end of an epoch; phase and epoch are numbered from 1."""

    def save(self, model: keras.Model, path: Path) -> None:
        """Write ``model``, the whole classifier, to a file that one of the caller's callbacks asked for."""
        model.save(path)


class SavingEvents(TrainingEvents):
    """Events of a training without a run directory: files are written only where a callback asks for them.

    Args:
        write: writes a model to a file.
    """

    def __init__(self, write: Callable[[keras.Model, Path], None]):
        self._write = write

    def save(self, model: keras.Model, path: Path) -> None:
        """Write ``model``."""
        self._write(model, path)
