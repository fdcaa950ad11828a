"""The candidates that the model was chosen from."""

from __future__ import annotations

from typing import Any

from keras_transfer.evaluation.leaderboard import (
    Leaderboard,
    accuracy_text,
    log_loss_text,
    remark,
    seconds_text,
)
from keras_transfer.html.whiskers import whiskers
from keras_transfer.report.run_view import RunView


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``leaderboard.html``."""
    return None if view.leaderboard is None else variables(view.leaderboard)


def variables(board: Leaderboard) -> dict[str, Any]:
    """Return the rows of the table, with the places of the error bars."""
    entries = board.entries
    losses = whiskers([(entry.log_loss, entry.log_loss_error) for entry in entries])
    accuracies = whiskers([(entry.accuracy, entry.accuracy_error) for entry in entries])
    rows = [
        {
            "name": entry.candidate,
            "chosen": entry.chosen,
            "log_loss": log_loss_text(entry),
            "log_loss_bar": loss,
            "accuracy": accuracy_text(entry),
            "accuracy_bar": accuracy,
            "seconds": seconds_text(entry),
            "remark": remark(entry),
        }
        for entry, loss, accuracy in zip(entries, losses, accuracies)
    ]
    return {"rows": rows, "evidence": board.evidence}
