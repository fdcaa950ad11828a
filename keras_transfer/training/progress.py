"""Progress on standard error: epoch, time left and images per second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import keras

WAITING = 0.2
"""Share of a phase's training time beyond which waiting for images, for more than a second, is worth a line."""


class Progress(keras.callbacks.Callback):
    """Show a line that moves on a terminal, and a line an epoch everywhere.

    Args:
        stream: where to write; standard error by default.
    """

    every = 0.2
    """Seconds between two drawings of the moving line, at least."""

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
        """Start an epoch's line."""
        self._began, self._images, self._epoch, self._drawn = time.perf_counter(), 0, epoch, 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Redraw the moving line, now and then."""
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
        figures = [
            f"loss {float((logs or {}).get('loss', 0)):.4f}",
            f"{speed:.0f} images/s",
            f"phase ETA {_clock(left)}",
        ]
        self._move(batches, figures)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the epoch's final line."""
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

    def tell(self, line: str, say: Callable[[str], None]) -> None:
        """Pass on what the run has to say about its phases."""
        say(line)

    def finish(self, result: Any) -> None:
        """The run is over: ``result`` is its :class:`~keras_transfer.training.fit_result.FitResult`."""

    def tell_waiting(self, phase: dict[str, Any]) -> None:
        """Write a line if a finished phase, as `metrics.json` has it, waited for its images for long."""
        waited = phase["data_wait"] or 0.0
        if waited > WAITING and waited * phase["seconds"] > 1:
            self._write(
                f"waiting for data: {waited:.0%} of the training time of phase {phase['name']}; more data.workers, "
                "smaller files or fewer augmentations help\n"
            )

    def _move(self, batches: tuple[int, int], figures: list[str]) -> None:
        """Show where the epoch is: batches done, and of how many."""
        self._write(f"\r{self._title()}  {batches[0]}/{batches[1]}  {'  '.join(figures)}   ")

    def _end(self, figures: list[str]) -> None:
        """Show the figures of a whole epoch."""
        start = "\r" if self.live else ""
        self._write(f"{start}{self._title()}  {'  '.join(figures)}\n")

    def _title(self) -> str:
        return f"{self.phase} {self._epoch + 1}/{self.epochs}"

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # a closed pipe must not end a training
            self.live = False


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
