"""Progress on standard error: epoch, metrics, images per second and remaining time."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import keras

from keras_transfer.text import write
from keras_transfer.typing import Say

WAITING = 0.2
"""Report waiting for images if it takes more than this share of a phase's training time, and more than a second."""


class Progress(keras.callbacks.Callback):
    """Print one line per epoch; on a terminal also a line that is updated during the epoch.

    Args:
        stream: where to write; standard error by default.
    """

    every = 0.2
    """Minimum seconds between two updates of the line."""

    def __init__(self, stream: TextIO | None = None):
        super().__init__()
        self.stream = stream or sys.stderr
        self.phase = ""
        self.epochs = 0
        self.train: Any = None
        self.rows: list[dict[str, Any]] = []
        self.live = self.stream.isatty()
        self._began = self._drawn = 0.0
        self._images = 0
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the line of an epoch."""
        self._began, self._images, self._epoch, self._drawn = time.perf_counter(), 0, epoch, 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Update the line."""
        self._images += self.train.batch_length(batch)
        now = time.perf_counter()
        if not self.live or now - self._drawn < self.every:
            return
        self._drawn = now
        speed = self._images / (now - self._began)
        epochs_left = self.epochs - self._epoch
        left = (len(self.train.loader.split) * epochs_left - self._images) / speed
        first = self.train.first
        batches = first + batch + 1, first + len(self.train)
        parts = [
            f"loss {float((logs or {}).get('loss', 0)):.4f}",
            f"{speed:.0f} images/s",
            f"phase ETA {_clock(left)}",
        ]
        self._move(batches, parts)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the final line of the epoch."""
        logs = logs or {}
        seconds = time.perf_counter() - self._began
        parts = [
            f"{name} {float(logs[name]):.4f}"
            for name in ("loss", "accuracy", "val_loss", "val_accuracy")
            if name in logs
        ]
        left = seconds * (self.epochs - epoch - 1)
        speed = self._images / max(seconds, 1e-9)
        self._end([*parts, f"{seconds:.1f} s", f"{speed:.0f} images/s", f"phase ETA {_clock(left)}"])

    def tell(self, line: str, say: Say) -> None:
        """Print a message of the run."""
        say(line)

    def finish(self, result: Any) -> None:
        """Handle the end of training; ``result`` is a :class:`~keras_transfer.training.fit_result.FitResult`."""

    def tell_waiting(self, phase: dict[str, Any]) -> None:
        """Print a hint if a finished phase (a `metrics.json` record) waited long for its images."""
        waited = phase["data_wait"] or 0.0
        if waited > WAITING and waited * phase["seconds"] > 1:
            self._write(
                f"waiting for data: {waited:.0%} of the training time of phase {phase['name']}; more data.workers, "
                "smaller files or fewer augmentations help\n"
            )

    def _move(self, batches: tuple[int, int], parts: list[str]) -> None:
        """Show the position in the epoch: batches done and total."""
        self._write(f"\r{self._title()}  {batches[0]}/{batches[1]}  {'  '.join(parts)}   ")

    def _end(self, parts: list[str]) -> None:
        """Show the metrics of a finished epoch."""
        start = "\r" if self.live else ""
        self._write(f"{start}{self._title()}  {'  '.join(parts)}\n")

    def _title(self) -> str:
        return f"{self.phase} {self._epoch + 1}/{self.epochs}"

    def _write(self, text: str) -> None:
        try:
            write(self.stream, text)
            self.stream.flush()
        except (OSError, ValueError):  # a closed pipe must not end training
            self.live = False


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
