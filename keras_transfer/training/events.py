"""What a training tells its surroundings while it goes on."""

from __future__ import annotations

from typing import Any

import keras


class TrainingEvents:
    """Called by the phase runner; every method does nothing here. A run directory keeps what it is told (`run_events`).

    Attributes:
        wants_every_epoch: whether :meth:`epoch_model` is called at all.
    """

    wants_every_epoch = False

    def begun(self) -> None:
        """The saved state, if there is one, has been taken up without objection."""

    def rate_found(self, phase: int, rate: float) -> None:
        """A range test found the learning rate of a phase, numbered from 0."""

    def improved(self, model: keras.Model) -> None:
        """``model`` has the best weights so far."""

    def epoch_ended(self, rows: list[dict[str, Any]]) -> None:
        """An epoch has ended; ``rows`` is the whole history, a row an epoch."""

    def epoch_model(self, model: keras.Model, phase: int, epoch: int) -> None:
        """``model`` at the end of an epoch; phase and epoch are numbered from 1."""
