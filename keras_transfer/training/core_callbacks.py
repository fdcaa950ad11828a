"""The callbacks of every run, which span all phases: best model, history, progress, non-finite loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_transfer.config.schema import Phase
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.ipython import in_notebook
from keras_transfer.training.callbacks import BestModel, RunHistory, StopOnNaN
from keras_transfer.training.progress import Progress
from keras_transfer.training.state import TrainingState


class CoreCallbacks:
    """The callbacks that every run has."""

    def __init__(
        self,
        best: BestModel,
        model: keras.Model,
        on_row: Callable[[list[dict[str, Any]]], None],
        verbose: bool,
    ):
        self.nan, self.best, self.history = StopOnNaN(), best, RunHistory()
        self.progress = _progress() if verbose else Progress()
        self.best.whole, self.verbose = model, verbose
        self.history.on_row = lambda _: on_row(self.history.rows)

    def begin(self, phase: Phase, train: Batches, first_epoch: int) -> None:
        """Set the phase."""
        self.nan.phase = self.best.phase = self.history.phase = self.progress.phase = phase.name
        self.nan.train = self.history.train = self.progress.train = train
        self.history.first_epoch, self.progress.epochs = first_epoch, phase.epochs
        self.progress.rows = self.history.rows

    def around(self, watchers: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
        """Return all callbacks in the order in which they must be called."""
        return [self.nan, self.best, *watchers, self.history, *([self.progress] if self.verbose else [])]

    def within(self, phase: Phase, train: Batches, first_epoch: int, title: str) -> list[keras.callbacks.Callback]:
        """Return the callbacks of a training whose epochs are not part of the history; its own history is among them."""
        self.begin(phase, train, first_epoch)
        self.progress.phase = title
        history = RunHistory()
        history.phase, history.train, history.first_epoch = phase.name, train, first_epoch
        return [self.nan, history, *([self.progress] if self.verbose else [])]

    def fill(self, state: TrainingState) -> None:
        """Add their state to a training state."""
        state.best, state.best_weights = self.best.memory(), self.best.weights or []
        state.history, state.so_far = self.history.rows, self.history.memory()
        state.iterations = [list(pair) for pair in self.history.iterations]

    def recall(self, state: TrainingState) -> None:
        """Restore their state, except that of an interrupted epoch."""
        self.best.recall(state.best, state.best_weights)
        self.history.rows = state.history
        self.history.iterations = [(name, loss) for name, loss in state.iterations]


def _progress() -> Progress:
    """Progress where the caller looks: in the notebook's cell, or on standard error."""
    if not in_notebook():
        return Progress()
    from keras_transfer.training.live_progress import LiveProgress

    return LiveProgress()
