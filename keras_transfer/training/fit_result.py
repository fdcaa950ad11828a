"""What training through the phases left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keras_transfer import formatting


@dataclass
class FitResult:
    """History and summary of a training.

    Attributes:
        history: a row an epoch (``callbacks.HISTORY_FIELDS``).
        iterations: (phase, loss) of every training step.
        phases: name, epochs done, their seconds, images/s, share of the time spent waiting for data, seconds of
            computing or finding features before the first epoch, frozen and trainable parameter counts of each phase.
        best: phase, epoch and monitored metric of the best model, whose weights the model now has.
        drawn_in: number of the notebook cell that shows the live curves; the same cell need not show them again.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[tuple[str, float]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    drawn_in: int | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        spent = sum(phase["seconds"] + phase["features_seconds"] for phase in self.phases)
        text = f"{len(self.history)} epochs in {formatting.seconds(spent)}"
        if not self.best:
            return text
        name, value = next(item for item in self.best.items() if item[0] not in ("phase", "epoch"))
        return f"{text}, the best: epoch {self.best['epoch']} of phase {self.best['phase']}, {name} {value:.4f}"

    def __repr__(self) -> str:
        return f"FitResult({self})"
