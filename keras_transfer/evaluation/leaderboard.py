"""The candidates that were compared to choose a model, with their figures and errors."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_transfer import formatting
from keras_transfer.errors import UserError
from keras_transfer.evaluation.table import plain_table
from keras_transfer.typing import Say

__all__ = ["Entry", "Leaderboard", "leaderboard_table", "show"]

WIDTH = 100
"""Columns of a terminal that the table needs."""
_LONGEST = 32  # columns of a candidate's name

_LIMITS = {"accuracy": 1.0, "accuracy_error": math.inf, "log_loss": math.inf, "log_loss_error": math.inf,
           "seconds": math.inf}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A candidate, judged on samples that it was not made from.

    Attributes:
        candidate: what it is, in a few words, e.g. ``"efficientnet_lite2, logistic"``.
        accuracy: share of right predictions, 0 … 1.
        accuracy_error: its standard error.
        log_loss: mean of −log p(label), in nats.
        log_loss_error: its standard error.
        seconds: what it took to make and judge it.
        chosen: whether it is the one that was chosen.
        reason: why, or why not.

    A figure that is not known is NaN.
    """

    candidate: str
    accuracy: float
    accuracy_error: float
    log_loss: float
    log_loss_error: float
    seconds: float
    chosen: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Candidates in the order of their rank, the first being the best.

    Attributes:
        entries: at least one, of which one may be chosen.
        evidence: what they were judged by, e.g. ``"out-of-fold predictions for 400 training images, 5 folds"``.

    Raises:
        UserError: there are no entries, or several are chosen.
    """

    entries: tuple[Entry, ...]
    evidence: str

    def __post_init__(self) -> None:
        if not self.entries:
            raise UserError("a leaderboard needs at least one candidate, got none")
        chosen = [entry.candidate for entry in self.entries if entry.chosen]
        if len(chosen) > 1:
            raise UserError(f"a leaderboard has one chosen candidate, got {len(chosen)}: {', '.join(chosen)}")

    @property
    def chosen(self) -> Entry:
        """The candidate that was chosen.

        Raises:
            UserError: none is marked.
        """
        for entry in self.entries:
            if entry.chosen:
                return entry
        raise UserError(f"none of the {len(self.entries)} candidates of the leaderboard is marked as chosen")

    def as_json(self) -> dict[str, Any]:
        """Return the board for a JSON file; figures that are not finite become None, since JSON has no NaN."""
        return {"evidence": self.evidence, "entries": [_without_nan(asdict(entry)) for entry in self.entries]}

    @classmethod
    def read(cls, stored: object) -> Leaderboard:
        """Return the board that :meth:`as_json` stored; what is missing is NaN, not chosen, or empty.

        Raises:
            UserError: it is not a leaderboard, or a figure is out of range.
        """
        if not isinstance(stored, Mapping) or not isinstance(stored.get("entries"), (list, tuple)):
            raise UserError(f"expected a leaderboard with a list of entries, got {_short(stored)}")
        entries = tuple(_entry(item, number) for number, item in enumerate(stored["entries"], 1))
        return cls(entries, _text(stored, "evidence", "the leaderboard"))

    def __str__(self) -> str:
        stream = io.StringIO()
        Console(file=stream, width=WIDTH, color_system=None, legacy_windows=False).print(leaderboard_table(self))
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())

    def __repr__(self) -> str:
        chosen = [entry.candidate for entry in self.entries if entry.chosen]
        name = formatting.shorten(chosen[0], 60) if chosen else "none"
        return f"Leaderboard({len(self.entries)} candidates, chosen: {name})"


def leaderboard_table(board: Leaderboard) -> Table:
    """Return the board as a text table of at most `WIDTH` columns, for `rich.print`."""
    evidence = formatting.printable(board.evidence)
    table = plain_table(f"candidates, by {evidence}" if evidence else "candidates", "candidate")
    table.columns[0].no_wrap = True
    for heading in ("accuracy", "log-loss", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold", min_width=16)
    for entry in board.entries:
        name = _cut(entry.candidate)
        style = "bold" if entry.chosen else ""
        cells = (name, accuracy_text(entry), log_loss_text(entry), seconds_text(entry), remark(entry))
        table.add_row(*(Text(cell) for cell in cells), style=style)  # as Text, since a name may be "[red]"
    return table


def show(board: Leaderboard, say: Say) -> None:
    """Print the board as a table."""
    say(str(board))


def accuracy_text(entry: Entry) -> str:
    """Return the accuracy in percent ± its standard error."""
    return _with_error(100 * entry.accuracy, 100 * entry.accuracy_error, 1, "\u00a0%")


def log_loss_text(entry: Entry) -> str:
    """Return the log-loss ± its standard error."""
    return _with_error(entry.log_loss, entry.log_loss_error, 4)


def seconds_text(entry: Entry) -> str:
    """Return the time in a suitable unit."""
    return formatting.seconds(entry.seconds) if math.isfinite(entry.seconds) else "–"


def remark(entry: Entry) -> str:
    """Return whether and why a candidate was chosen, or why not."""
    if not entry.chosen:
        return formatting.printable(entry.reason)
    return f"✓ chosen: {formatting.printable(entry.reason)}" if entry.reason else "✓ chosen"


def _cut(name: str) -> str:
    """Return a name cut in the middle to `_LONGEST` columns, of which some letters take two."""
    limits = range(_LONGEST, 1, -1)
    return next(text for text in (formatting.shorten(name, limit) for limit in limits) if cell_len(text) <= _LONGEST)


def _with_error(value: float, error: float, digits: int, unit: str = "") -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if math.isfinite(error) else "") + unit


def _entry(item: object, number: int) -> Entry:
    where = f"candidate {number} of the leaderboard"
    if not isinstance(item, Mapping):
        raise UserError(f"{where}: expected its name and figures, got {_short(item)}")
    name, chosen = _text(item, "candidate", where), item.get("chosen", False)
    if not name:
        raise UserError(f"{where}: it has no name")
    if not isinstance(chosen, bool):
        raise UserError(f"{where}: chosen must be true or false, got {_short(chosen)}")
    figures = {key: _figure(item, key, most, where) for key, most in _LIMITS.items()}
    return Entry(name, **figures, chosen=chosen, reason=_text(item, "reason", where))


def _text(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{where}: {key} must be text, got {_short(value)}")
    return value


def _figure(item: Mapping[str, Any], key: str, most: float, where: str) -> float:
    value = item.get(key)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isnan(value) or 0 <= value <= most):
        wanted = "a number of at least 0" if math.isinf(most) else f"a number from 0 to {most:g}"
        raise UserError(f"{where}: {key} must be {wanted}, got {_short(value)}")
    return float(value)


def _without_nan(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in entry.items()
    }


def _short(value: object) -> str:
    return formatting.shorten(repr(value), 60)
