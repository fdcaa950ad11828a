"""Comparison of the accuracy and duration of runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_transfer.plots.style import BLUE, GREEN, GREY, INK, ORANGE, figure, save, shorten, styled

__all__ = ["compared_curves", "comparison", "duration"]

_UNITS = ((7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))


def comparison(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw accuracies with their intervals, and times, a line per run.

    If a run has no test set, validation is shown instead, or what stands for it (`val_of`).

    Args:
        rows: `name`, `seconds`, and `test_accuracy`, `test_low`, `test_high` or those of `val`, of each run.
        path: the PNG to write.

    Raises:
        ValueError: there are no rows.
        UserError: the file cannot be written.
    """
    if not rows:
        raise ValueError("expected at least one run")
    split = "test" if all(row.get("test_accuracy") is not None for row in rows) else "val"
    names = [shorten(row["name"], 32) for row in rows]
    with styled(names):
        made = figure(8.6, 1.25 + 0.42 * len(rows))
        left, right = made.subplots(1, 2, sharey=True, width_ratios=[3, 2])
        _accuracies(left, rows, split)
        _times(right, [row["seconds"] for row in rows])
        left.set_yticks(range(len(rows)), names)
        left.tick_params(axis="y", colors=INK)
        left.set_ylim(len(rows) - 0.4, -0.6)
        save(made, path)


def compared_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> None:
    """Draw the validation accuracy of several runs, by epoch and by time (training and validation of the epochs).

    Args:
        histories: name of a run → its `history.csv`, as :meth:`~keras_transfer.runs.RunDirectory.read_history` returns it; an
            accuracy that is missing leaves a gap.
        path: the PNG to write.

    Raises:
        ValueError: there are no runs.
        UserError: the file cannot be written.
    """
    if not histories:
        raise ValueError("expected at least one run")
    names = [shorten(name, 32) for name in histories]
    longest = max((float(np.nansum(_figures(rows, "seconds"))) for rows in histories.values()), default=0.0)
    _, unit, unit_name = next(found for found in _UNITS if longest >= found[0])
    with styled(names):
        made = figure(8.6, 3.6)
        left, right = made.subplots(1, 2, sharey=True)
        for number, (name, rows) in enumerate(zip(names, histories.values())):
            accuracy = _figures(rows, "val_accuracy")
            style: dict[str, Any] = {
                "color": (BLUE, ORANGE, GREEN, GREY)[number % 4],
                "linestyle": ("-", "--", ":")[number // 4 % 3],
                "marker": "o",
                "markersize": 3,
            }
            left.plot(np.arange(1, len(rows) + 1), accuracy, label=name, **style)
            right.plot(np.cumsum(_figures(rows, "seconds")) / unit, accuracy, **style)
        left.set_title("Validation accuracy")
        left.set_xlabel("epoch")
        left.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        left.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        right.set_title("By time")
        right.set_xlabel(unit_name)
        left.legend(loc="lower right", frameon=False)
        save(made, path)


def _figures(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Return float64 (epochs,), with NaN for values that are missing."""
    values = [row.get(key) for row in rows]
    return np.array([value if isinstance(value, (int, float)) else np.nan for value in values], np.float64)


def duration(seconds: float) -> str:
    """Return seconds as ``9.8 s``, ``42 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _accuracies(axis: Axes, rows: Sequence[Mapping[str, Any]], split: str) -> None:
    """Draw points with their intervals, zoomed in: bars from 0 would all look alike."""
    places = np.arange(len(rows))
    value, low, high = (
        np.array([row[f"{split}_{key}"] for row in rows], np.float64) for key in ("accuracy", "low", "high")
    )
    axis.hlines(places, low, high, color=BLUE, linewidth=5, alpha=0.3)
    axis.plot(value, places, "o", color=BLUE, markersize=6)
    for place, one in zip(places, value):
        axis.annotate(f"{one:.2%}", (one, place), (0, 6), textcoords="offset points", ha="center", fontsize=8.5)
    room = max(0.08 * (high.max() - low.min()), 0.004)
    axis.set_xlim(low.min() - room, high.max() + room)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.set_title(f"{_title(rows, split)} accuracy, 95 % interval")
    axis.grid(visible=False, axis="y")


def _title(rows: Sequence[Mapping[str, Any]], split: str) -> str:
    if split == "test":
        return "Test"
    folded = [bool(row.get("val_of")) for row in rows]
    return "Out-of-fold" if all(folded) else "Validation or out-of-fold" if any(folded) else "Validation"


def _times(axis: Axes, seconds: Sequence[float]) -> None:
    axis.set_axisbelow(True)
    longest = max(seconds)
    _, unit, name = next(found for found in _UNITS if longest >= found[0])
    values = np.array(seconds) / unit
    axis.barh(range(len(values)), values, 0.5, color=ORANGE, alpha=0.85)
    for place, value in enumerate(values):
        text = duration(seconds[place])
        axis.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=GREY)
    axis.set_xlim(0, 1.45 * max(values.max(), 1e-9))  # room for the text
    axis.set_title(f"Time, {name}")
    axis.grid(visible=False, axis="y")
