"""Callbacks of a run: ordinary Keras callbacks that span phases."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.adapters import merged_weights
from keras_transfer.training.stopping import StopRequest

HISTORY_FIELDS = (
    "phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second",
    "data_wait",
)  # fmt: skip


class BestModel(keras.callbacks.Callback):
    """Keep the best weights over all phases of a run (Keras's ModelCheckpoint covers a single ``fit``).

    Args:
        monitor: ``val_loss`` (lower is better) or ``val_accuracy`` (higher is better; ties go to the lower loss).
        save: writes the model to disk; called after an improvement, and by :meth:`restore`.
        every: minimum seconds between two writes: an epoch on cached features can take less than writing the model.
    """

    def __init__(
        self, monitor: str = "val_loss", save: Callable[[keras.Model], None] | None = None, every: float = 0.0
    ):
        super().__init__()
        self.monitor = monitor
        self.save, self.every = save, every
        self._saved, self._unsaved = -math.inf, False
        self.phase = ""
        self.whole: keras.Model | None = None  # the complete model, where only its upper part trains
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
        model = self.model  # on jax, copies the trained values back to the variables
        kept = self.whole or model
        self.weights = merged_weights(kept)
        if self.save is not None and time.monotonic() - self._saved >= self.every:
            self.save(kept)
            self._saved, self._unsaved = time.monotonic(), False
        else:
            self._unsaved = True

    def memory(self) -> dict[str, Any]:
        """Return the state, without the weights."""
        return {"score": self.best, "found": self.found}

    def recall(self, memory: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Restore what :meth:`memory` returned, and the weights; the file on disk may be from another epoch."""
        if memory.get("score") is not None:
            self.best, self.found = tuple(memory["score"]), memory["found"]
            self.weights, self._unsaved = weights, True

    def restore(self, model: keras.Model) -> None:
        """Load the best weights into ``model``, and write it if that is still due."""
        if self.weights is not None:
            model.set_weights(self.weights)
        if self._unsaved and self.save is not None:
            self.save(model)
            self._unsaved = False


class AsValidation(keras.callbacks.Callback):
    """Give out-of-fold evidence as the figures of validation, where there are no validation images. Must be among the first callbacks.

    Args:
        evidence: with ``log_loss`` and ``accuracy``.
    """

    def __init__(self, evidence: dict[str, float]):
        super().__init__()
        self.evidence = evidence

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the figures to those that the next callbacks see."""
        if logs is not None:
            logs["val_loss"], logs["val_accuracy"] = self.evidence["log_loss"], self.evidence["accuracy"]


class StopWhenAsked(keras.callbacks.Callback):
    """Interrupt training after the batch in which a stop is requested, where there is nothing to save.

    Args:
        stop: the request.
    """

    def __init__(self, stop: StopRequest):
        super().__init__()
        self.stop = stop

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Interrupt if asked to."""
        if self.stop.asked:
            raise KeyboardInterrupt


class EveryEpoch(keras.callbacks.Callback):
    """Keep the model of every epoch, not only the best.

    Args:
        save: called with the model and the numbers of phase and epoch, both from 1.
        whole: the complete model; only its upper part may be trained.
        phase: number of the phase, from 1.
    """

    def __init__(self, save: Callable[[keras.Model, int, int], None], whole: keras.Model, phase: int):
        super().__init__()
        self.save, self.whole, self.phase = save, whole, phase

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the model."""
        _ = self.model  # on jax, copies the trained values back to the variables
        self.save(self.whole, self.phase, epoch + 1)


class RunHistory(keras.callbacks.Callback):
    """Collect a row an epoch and the loss of every iteration.

    Args:
        on_row: called with every new row (to append it to a file).

    Attributes:
        so_far: `memory` of an interrupted epoch, for the next `on_epoch_begin`.
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
        """Start the clock, or continue that of an interrupted epoch."""
        before, self.so_far = self.so_far, {}
        self._images, self._loss_sum = before.get("images", 0.0), before.get("loss_sum", 0.0)
        self._began = time.perf_counter() - before.get("seconds", 0.0)
        self._waited = before.get("waited", 0.0)
        # The rate of the first step: by the end a plateau may have lowered it, and a cosine has reached 0.
        self._rate = before.get("learning_rate", current_rate(self.model.optimizer))
        self._train_end = self._began
        if self.train is not None:
            # Order and augmentation follow from the number of the epoch over all phases, which is set here, not counted.
            self.train.set_epoch(self.first_epoch + epoch)
            self.train.loader.reset()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Recover the loss of the iteration from Keras's running mean."""
        if self.train is None or not logs:
            return
        size = self.train.batch_length(batch)
        total = float(logs["loss"]) * (self._images + size)
        loss = (total - self._loss_sum) / size
        self._images, self._loss_sum = self._images + size, total
        self._train_end = time.perf_counter()
        self.iterations.append((self.phase, loss))

    def memory(self) -> dict[str, float]:
        """Return the value of `so_far` with which the epoch can be continued."""
        return {
            "images": self._images,
            "learning_rate": self._rate,
            "loss_sum": self._loss_sum,
            "seconds": time.perf_counter() - self._began,
            "waited": self._waited + float(self.train.loader.waited),
        }

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Append the row of the epoch."""
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
        others = {name: _plain(value) for name, value in logs.items() if name not in HISTORY_FIELDS}
        self.rows.append({**{name: row.get(name) for name in HISTORY_FIELDS}, **others})
        if self.on_row is not None:
            self.on_row(self.rows[-1])


def _plain(value: Any) -> Any:
    """Return a figure as a number, or numbers, that JSON can hold."""
    return np.asarray(keras.ops.convert_to_numpy(value)).tolist()


class LossNotFinite(UserError):
    """The loss or a weight became infinite or NaN.

    Attributes:
        where: phase, epoch and batch (from 1), and the images of the batch: index in the training split, and name.
    """

    def __init__(self, message: str, where: dict[str, Any]):
        super().__init__(message)
        self.where = where


class StopOnNaN(keras.callbacks.Callback):
    """Stop training, with advice, after the batch in which the loss becomes non-finite. Must be the first callback."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = ""
        self.train: Any = None
        self._epoch = 0
        self._batch = (0, 0)  # the last batch: epoch over all phases, number

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the running mean of the loss, which a single batch makes non-finite."""
        self._batch = self.train.epoch, self.train.first + batch
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise self._error(f"the loss became {loss}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Check the weights: the last update comes after its loss was computed."""
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
    """Return the learning rate of the next step."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
