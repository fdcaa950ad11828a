"""The run's own callbacks: ordinary Keras callbacks that know about phases."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError

HISTORY_FIELDS = (
    "phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second",
    "data_wait",
)  # fmt: skip


class BestModel(keras.callbacks.Callback):
    """Keep the best weights of the whole run, over all its phases (Keras's ModelCheckpoint knows one ``fit``).

    Args:
        monitor: ``val_loss`` (lower is better) or ``val_accuracy`` (higher is better; ties go to the lower loss).
        save: writes the model to disk; called after an improvement, and by :meth:`restore`.
        every: seconds between two writes, at least: an epoch on cached features takes less than writing the model.
    """

    def __init__(
        self, monitor: str = "val_loss", save: Callable[[keras.Model], None] | None = None, every: float = 0.0
    ):
        super().__init__()
        self.monitor = monitor
        self.save, self.every = save, every
        self._saved, self._unsaved = -math.inf, False
        self.phase = ""
        self.whole: keras.Model | None = None  # what is kept, where only its upper part trains
        self.best: tuple[float, float] | None = None
        self.found: dict[str, Any] = {}
        self.weights: list[np.ndarray] | None = None

    def score(self, logs: dict[str, float]) -> tuple[float, float]:
        """Return a pair that is smaller for a better model."""
        loss = float(logs["val_loss"])
        return (-float(logs["val_accuracy"]), loss) if self.monitor == "val_accuracy" else (loss, 0.0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare with the best so far."""
        score = self.score(logs or {})
        if any(math.isnan(part) for part in score) or (self.best is not None and score >= self.best):
            return
        self.best = score
        self.found = {"phase": self.phase, "epoch": epoch + 1, self.monitor: float((logs or {})[self.monitor])}
        model = self.model  # brings the trained values back into the variables, on jax
        kept = self.whole or model
        self.weights = kept.get_weights()
        if self.save is not None and time.monotonic() - self._saved >= self.every:
            self.save(kept)
            self._saved, self._unsaved = time.monotonic(), False
        else:
            self._unsaved = True

    def restore(self, model: keras.Model) -> None:
        """Put the best weights back into ``model``, and write it if that was put off."""
        if self.weights is not None:
            model.set_weights(self.weights)
        if self._unsaved and self.save is not None:
            self.save(model)
            self._unsaved = False


class RunHistory(keras.callbacks.Callback):
    """Collect a row an epoch and the loss of every iteration.

    Args:
        on_row: called with every new row (to append it to a file).
    """

    def __init__(self, on_row: Callable[[dict[str, Any]], None] | None = None):
        super().__init__()
        self.on_row = on_row
        self.rows: list[dict[str, Any]] = []
        self.iterations: list[tuple[str, float]] = []
        self.phase = ""
        self.train: Any = None
        self.first_epoch = 0
        self._images = self._loss_sum = self._began = self._train_end = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._images = self._loss_sum = 0.0
        self._began = time.perf_counter()
        self._train_end = self._began
        if self.train is not None:
            # Order and augmentation follow from the epoch's number over all phases: said here, never counted.
            self.train.set_epoch(self.first_epoch + epoch)
            self.train.loader.reset()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Recover the iteration's own loss from Keras's running mean."""
        if self.train is None or not logs:
            return
        size = self.train.batch_length(batch)
        total = float(logs["loss"]) * (self._images + size)
        loss = (total - self._loss_sum) / size
        self._images, self._loss_sum = self._images + size, total
        self._train_end = time.perf_counter()
        self.iterations.append((self.phase, loss))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the epoch's row."""
        logs = logs or {}
        seconds = time.perf_counter() - self._began
        training = max(self._train_end - self._began, 1e-9)
        waited = float(self.train.loader.waited) if self.train is not None else 0.0
        row: dict[str, Any] = {name: float(logs[name]) for name in HISTORY_FIELDS if name in logs}
        row |= {
            "phase": self.phase,
            "epoch": epoch + 1,
            "learning_rate": current_rate(self.model.optimizer),
            "seconds": seconds,
            "images_per_second": self._images / training,
            "data_wait": min(1.0, waited / training),
        }
        self.rows.append({name: row.get(name) for name in HISTORY_FIELDS})
        if self.on_row is not None:
            self.on_row(self.rows[-1])


class StopOnNaN(keras.callbacks.Callback):
    """End training with advice when the loss stops being a number."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Check the epoch's training loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} in epoch {epoch + 1}; lower the phase's learning_rate, or set its clip_norm, "
                "or use precision: float32 (the best model so far is kept)"
            )


def current_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate that the next step will use."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
