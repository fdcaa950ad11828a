"""What training through the phases left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
        outcomes: of each phase whose head was solved (``phase``, ``solver``, ``strength``, ``temperature``, ``evidence``) or that was
            trained in folds (:class:`~keras_transfer.training.folded.FoldedOutcome` as a dictionary, with ``phase`` and ``solver``).
        out_of_fold: logits of the training images in the order of their split, float64 (n, C), calibrated: those of the best model's
            phase by models that did not see the image; None where there are none.
        drawn_in: number of the notebook cell that shows the live curves; the same cell need not show them again.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[tuple[str, float]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    out_of_fold: np.ndarray | None = field(default=None, repr=False, compare=False)
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
