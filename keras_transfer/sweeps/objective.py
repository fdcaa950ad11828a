"""What a trial is judged by: figures on validation images, or out of fold where there are none; never on the test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keras_transfer.errors import UserError, unknown
from keras_transfer.options import OBJECTIVES


@dataclass(frozen=True)
class Objective:
    """A figure to optimize.

    Attributes:
        name: on the command line.
        metric: key of :func:`keras_transfer.evaluation.evaluate.metrics_of`.
        higher: whether more is better.
    """

    name: str
    metric: str
    higher: bool = True

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.higher else "minimize"

    def of(self, metrics: Mapping[str, Any]) -> float:
        """Return the figure.

        Raises:
            UserError: there is none for such labels.
        """
        value = metrics.get(self.metric)
        if value is None:
            raise UserError(f"--objective {self.name}: there is no such figure for these labels; take accuracy or loss")
        return float(value)

    def of_epoch(self, row: Mapping[str, Any], smoothed: bool) -> float | None:
        """Return the figure by which trials are compared while they train, in the same direction.

        Args:
            row: of the history.
            smoothed: whether the loss of trials is not the same function of their predictions.
        """
        accuracy, loss = row.get("val_accuracy"), row.get("val_loss")
        if self.name == "loss":
            return _number(loss) if not smoothed else None if accuracy is None else 1 - float(accuracy)
        return _number(accuracy)


def objective_named(name: str) -> Objective:
    """Return the objective of that name; raise UserError if there is none."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return Objective(name, "log_loss", higher=False) if name == "loss" else Objective(name, name)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
