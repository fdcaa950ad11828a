"""What training through the phases left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_transfer import formatting


class History(list[dict[str, Any]]):
    """A row an epoch; like the ``history`` of Keras's ``History``, also a dictionary of columns.

    Examples:
        >>> from keras_transfer.training.fit_result import History
        >>> history = History([{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.4, "val_loss": 0.5}])
        >>> history["val_loss"], history[1]["loss"], sorted(history.keys())
        ([0.6, 0.5], 0.4, ['loss', 'val_loss'])
    """

    def __getitem__(self, place: Any) -> Any:
        """Return row number ``place`` (or rows, for a slice), or the column of that name."""
        if not isinstance(place, str):
            return super().__getitem__(place)
        if place not in self.keys():
            raise KeyError(place)
        return [row.get(place) for row in self]

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(dict.fromkeys(name for row in self for name in row))

    def values(self) -> list[list[Any]]:
        """Return the columns."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, list[Any]]]:
        """Return names and columns."""
        return [(name, self[name]) for name in self.keys()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the column of that name."""
        return self[name] if name in self.keys() else default

    def __contains__(self, item: object) -> bool:
        return item in self.keys() if isinstance(item, str) else super().__contains__(item)


@dataclass
class FitResult:
    """History and summary of a training.

    Attributes:
        history: a row an epoch (``callbacks.HISTORY_FIELDS``, and further metrics); ``history["val_loss"]`` is a column, as in the
            ``History`` that Keras's ``fit`` returns.
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

    history: History = field(default_factory=History)
    iterations: list[tuple[str, float]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    out_of_fold: np.ndarray | None = field(default=None, repr=False, compare=False)
    drawn_in: int | None = field(default=None, repr=False, compare=False)

    @property
    def epoch(self) -> list[int]:
        """Numbers of the epochs over all phases, from 0, as in Keras's ``History``."""
        return list(range(len(self.history)))

    def __str__(self) -> str:
        spent = sum(phase["seconds"] + phase["features_seconds"] for phase in self.phases)
        text = f"{len(self.history)} epochs in {formatting.seconds(spent)}"
        if not self.best:
            return text
        name, value = next(item for item in self.best.items() if item[0] not in ("phase", "epoch"))
        return f"{text}, the best: epoch {self.best['epoch']} of phase {self.best['phase']}, {name} {value:.4f}"

    def __repr__(self) -> str:
        return f"FitResult({self})"
