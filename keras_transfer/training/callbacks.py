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

    def memory(self) -> dict[str, Any]:
        """Return what it knows, but for the weights."""
        return {"score": self.best, "found": self.found}

    def recall(self, memory: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Know again what :meth:`memory` returned, and the weights; the file may be of another epoch."""
        if memory.get("score") is not None:
            self.best, self.found = tuple(memory["score"]), memory["found"]
            self.weights, self._unsaved = weights, True

    def restore(self, model: keras.Model) -> None:
        """Put the best weights back into ``model``, and write it if that was put off."""
        if self.weights is not None:
            model.set_weights(self.weights)
        if self._unsaved and self.save is not None:
            self.save(model)
            self._unsaved = False


class EveryEpoch(keras.callbacks.Callback):
    """Keep the model of every epoch, not only the best.

    Args:
        save: called with the model, the number of the phase and that of the epoch within it, both from 1.
        whole: what is kept, where only its upper part trains.
        phase: number of the phase, from 1.
    """

    def __init__(self, save: Callable[[keras.Model, int, int], None], whole: keras.Model, phase: int):
        super().__init__()
        self.save, self.whole, self.phase = save, whole, phase

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the model."""
        _ = self.model  # brings the trained values back into the variables, on jax
        self.save(self.whole, self.phase, epoch + 1)


class RunHistory(keras.callbacks.Callback):
    """Collect a row an epoch and the loss of every iteration.

    Args:
        on_row: called with every new row (to append it to a file).

    Attributes:
        so_far: `memory` of an epoch that was broken off, for the next `on_epoch_begin`.
    """

    def __init__(self, on_row: Callable[[dict[str, Any]], None] | None = None):
        super().__init__()
        self.on_row = on_row
        self.rows: list[dict[str, Any]] = []
        self.iterations: list[tuple[str, float]] = []
        self.phase = ""
        self.train: Any = None
        self.first_epoch = 0
        self.so_far: dict[str, float] = {}
        self._images = self._loss_sum = self._began = self._train_end = self._waited = self._rate = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock, or let it go on in an epoch that was broken off."""
        before, self.so_far = self.so_far, {}
        self._images, self._loss_sum = before.get("images", 0.0), before.get("loss_sum", 0.0)
        self._began = time.perf_counter() - before.get("seconds", 0.0)
        self._waited = before.get("waited", 0.0)
        # That of the first step: at the end a plateau may have lowered it already, and a cosine has come down to 0.
        self._rate = before.get("learning_rate", current_rate(self.model.optimizer))
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

    def memory(self) -> dict[str, float]:
        """Return what is to be put into `so_far` for an epoch to go on from here."""
        return {
            "images": self._images,
            "learning_rate": self._rate,
            "loss_sum": self._loss_sum,
            "seconds": time.perf_counter() - self._began,
            "waited": self._waited + float(self.train.loader.waited),
        }

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the epoch's row."""
        logs = logs or {}
        seconds = time.perf_counter() - self._began
        training = max(self._train_end - self._began, 1e-9)
        waited = self._waited + float(self.train.loader.waited) if self.train is not None else 0.0
        row: dict[str, Any] = {name: float(logs[name]) for name in HISTORY_FIELDS if name in logs}
        row |= {
            "phase": self.phase,
            "epoch": epoch + 1,
            "learning_rate": self._rate,
            "seconds": seconds,
            "images_per_second": self._images / training,
            "data_wait": min(1.0, waited / training),
        }
        self.rows.append({name: row.get(name) for name in HISTORY_FIELDS})
        if self.on_row is not None:
            self.on_row(self.rows[-1])


class LossNotFinite(UserError):
    """The loss, or a weight, became infinite or NaN.

    Attributes:
        where: phase, epoch and batch (both from 1) and the batch's images: index in the training split, and name.
    """

    def __init__(self, message: str, where: dict[str, Any]):
        super().__init__(message)
        self.where = where


class StopOnNaN(keras.callbacks.Callback):
    """End training with advice after the batch in which the loss stops being a number; must be the first callback."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = ""
        self.train: Any = None
        self._epoch = 0
        self._batch = (0, 0)  # the last one: epoch over all phases, number

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the running mean of the loss, which one batch is enough to spoil."""
        self._batch = self.train.epoch, self.train.first + batch
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise self._error(f"the loss became {loss}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Check the weights: the last step may have spoilt them after its loss was computed."""
        for weight, value in zip(self.model.weights, self.model.get_weights()):
            if not np.isfinite(value).all():
                raise self._error(f"the weight {weight.path} became infinite or NaN")

    def _error(self, what: str) -> LossNotFinite:
        loader, batch = self.train.loader, self._batch[1] + 1
        where = {
            "phase": self.phase,
            "epoch": self._epoch + 1,
            "batch": batch,
            "images": [
                {"index": i, "name": loader.split.image_name(i)} for i in loader.positions(*self._batch).tolist()
            ],
        }
        return LossNotFinite(
            f"{what} in batch {batch} of epoch {self._epoch + 1} of phase {self.phase}; lower the phase's learning_rate, "
            "or set its clip_norm, or use precision: float32",
            where,
        )


def current_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate that the next step will use."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
