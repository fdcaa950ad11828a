"""Progress on standard error: batches, metrics, images per second, and the time left of the phase and of the run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

import keras

from keras_transfer import text
from keras_transfer.console import is_live, terminal
from keras_transfer.typing import Say

if TYPE_CHECKING:
    import rich.progress

WAITING = 0.2
"""Report waiting for images if it takes more than this share of a phase's training time, and more than a second."""


class Progress(keras.callbacks.Callback):
    """Print one line per epoch; on a terminal also a bar during the epoch.

    Args:
        stream: where to write; standard error by default.

    Attributes:
        later: images still to be trained on after this ``fit``, as far as they are known.
        more: whether other phases follow, whose speed is not known yet: the time left is then a lower bound.
    """

    every = 0.2
    """Minimum seconds between two updates of the line."""

    def __init__(self, stream: TextIO | None = None):
        super().__init__()
        text.never_fail()
        self.stream = stream or sys.stderr
        self.phase = ""
        self.epochs = 0
        self.train: Any = None
        self.rows: list[dict[str, Any]] = []
        self.later, self.more = 0.0, False
        self.console = terminal(self.stream)
        self.live = is_live(self.console)
        self._bar: rich.progress.Progress | None = None
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
        left = len(self.train.loader.split) * epochs_left - self._images
        first = self.train.first
        batches = first + batch + 1, first + len(self.train)
        self._move(
            batches,
            [f"loss {float((logs or {}).get('loss', 0)):.4f}", f"{speed:.0f} images/s", *self._time_left(left, speed)],
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the final line of the epoch."""
        logs = logs or {}
        seconds = time.perf_counter() - self._began
        parts = [
            f"{name} {float(logs[name]):.4f}"
            for name in ("loss", "accuracy", "val_loss", "val_accuracy")
            if name in logs
        ]
        speed = self._images / max(seconds, 1e-9)
        left = len(self.train.loader.split) * (self.epochs - epoch - 1)
        self._end([*parts, f"{seconds:.1f} s", f"{speed:.0f} images/s", *self._time_left(left, speed)])

    def tell(self, line: str, say: Say) -> None:
        """Print a message of the run."""
        say(line)

    def finish(self, result: Any) -> None:
        """Handle the end of training; ``result`` is a :class:`~keras_transfer.training.fit_result.FitResult`."""

    def close(self) -> None:
        """Remove the bar, also after an error or an interrupt, which Keras does not report: the cursor must come back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def tell_waiting(self, phase: dict[str, Any]) -> None:
        """Print a hint if a finished phase (a `metrics.json` record) waited long for its images."""
        waited = phase["data_wait"] or 0.0
        if waited > WAITING and waited * phase["seconds"] > 1:
            self._write(
                f"waiting for data: {waited:.0%} of the training time of phase {phase['name']}; more data.workers, "
                "smaller files or fewer augmentations help\n"
            )

    def _time_left(self, images: float, speed: float) -> list[str]:
        """Return the time left of the phase and, where more follows, of the run."""
        speed = max(speed, 1e-9)
        parts = [f"phase ETA {_clock(images / speed)}"]
        if self.later or self.more:
            parts.append(f"run ETA {'at least ' if self.more else ''}{_clock((images + self.later) / speed)}")
        return parts

    def _move(self, batches: tuple[int, int], parts: list[str]) -> None:
        """Show the position in the epoch: batches done and total."""
        shown = {"description": self._title(), "completed": batches[0], "total": batches[1], "parts": "  ".join(parts)}
        if self._bar is None:
            self._bar = _bar(self.console)
            self._bar.add_task(**shown)  # type: ignore[arg-type]
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], **shown)  # type: ignore[arg-type]

    def _end(self, parts: list[str]) -> None:
        """Show the metrics of a finished epoch."""
        self.close()
        self._write(f"{self._title()}  {'  '.join(parts)}\n")

    def _title(self) -> str:
        return f"{self.phase} {self._epoch + 1}/{self.epochs}"

    def _write(self, line: str) -> None:
        try:
            text.write(self.stream, line)
            self.stream.flush()
        except (OSError, ValueError):  # a closed pipe must not end training
            self.live = False


def _bar(console: Any) -> rich.progress.Progress:
    """Return a bar of an epoch; what is printed meanwhile appears above it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[parts]}", markup=False),
    )
    return Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty(), refresh_per_second=5
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
