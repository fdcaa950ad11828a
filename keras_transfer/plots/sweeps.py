"""The trials of a sweep: how it went, which values were good, which keys matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from keras_transfer.plots.style import BLUE, GREY, INK, ORANGE, PALE, Target, figure, save, shorten, styled

__all__ = ["importance", "parallel_coordinates", "sweep_history"]

_GOOD = 0.2
"""Share of the trials that are drawn in colour as the good ones."""


def sweep_history(rows: Sequence[Mapping[str, Any]], name: str, higher: bool, path: Target) -> None:
    """Draw the value of every trial, and the best so far.

    Args:
        rows: `trial`, `state`, `value` (None unless complete) and `epoch_values` of each trial.
        name: of the value.
        higher: whether more is better.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        ValueError: no trial is complete.
        UserError: the file cannot be written.
    """
    done = [row for row in rows if row["value"] is not None]
    if not done:
        raise ValueError("expected at least one complete trial")
    with styled([name]):
        made = figure(8, 3.2)
        axis = made.subplots()
        numbers, values = [row["trial"] for row in done], np.array([row["value"] for row in done])
        best = np.maximum.accumulate(values) if higher else np.minimum.accumulate(values)
        pruned = [row for row in rows if row["state"] == "pruned" and row["epoch_values"]]
        last = [(row["trial"], list(row["epoch_values"].values())[-1]) for row in pruned]
        axis.plot(numbers, values, "o", color=BLUE, alpha=0.7, label="trial")
        if last:
            axis.plot(*zip(*last), "x", color=GREY, label="pruned, last epoch")
        axis.step(numbers, best, where="post", color=ORANGE, label="best so far")
        place = int(np.flatnonzero(values == best[-1])[0])
        axis.plot([numbers[place]], [values[place]], "o", color=ORANGE, markersize=8)
        axis.set_ylim(*_limits(values, higher))
        axis.set_title(f"{name} by trial")
        axis.set_xlabel("trial")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)  # trials may be anywhere inside
        save(made, path)


def parallel_coordinates(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], log: Sequence[bool], name: str, higher: bool, path: Target
) -> None:
    """Draw every complete trial as a line through its values: good ones in colour, the best above all.

    Args:
        rows: `value` and `params` (key → number, text, truth value or None) of complete trials, the best first.
        keys: of the axes, in order.
        log: of each key, whether its axis is logarithmic.
        name: of the value, on the last axis.
        higher: whether more is better.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        ValueError: there are no rows.
        UserError: the file cannot be written.
    """
    if not rows:
        raise ValueError("expected at least one trial")
    columns = [[row["params"].get(key) for row in rows] for key in keys]
    values = [row["value"] for row in rows]
    texts = [str(value) for column in columns for value in column]
    with styled([name, *keys, *texts]):
        made = figure(max(7.0, 1.9 * (len(keys) + 1)), 4.2)
        axis = made.subplots()
        axes = [_Axis(column, wants_log) for column, wants_log in zip(columns, log)]
        axes.append(_Axis(values, False))
        heights = np.array([one.places for one in axes])
        good = max(1, round(_GOOD * len(rows)))
        for number in range(len(rows) - 1, -1, -1):
            colour, alpha, width = (
                (ORANGE, 1.0, 2.6) if not number else (BLUE, 0.7, 1.4) if number < good else (GREY, 0.3, 1.0)
            )
            axis.plot(range(len(axes)), heights[:, number], color=colour, alpha=alpha, linewidth=width)
        for place, (one, key) in enumerate(zip(axes, [*keys, name])):
            _draw_axis(axis, place, one, key, last=place == len(axes) - 1)
        axis.set_xlim(-0.1, len(axes) - 0.55)
        axis.set_ylim(-0.06, 1.17)
        axis.set_axis_off()
        axis.plot([], [], color=ORANGE, linewidth=2.6, label="best")
        axis.plot([], [], color=BLUE, label=f"the {good} best" if good > 1 else "")
        axis.plot([], [], color=GREY, alpha=0.5, label="others")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3)
        save(made, path)


def importance(shares: Mapping[str, float], path: Target) -> None:
    """Draw how much of the differences between trials each key explains.

    Args:
        shares: key → share, 0..1.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        ValueError: there are none.
        UserError: the file cannot be written.
    """
    if not shares:
        raise ValueError("expected at least one key")
    names = [shorten(key, 40) for key in shares]
    with styled(names):
        made = figure(8, 0.7 + 0.34 * len(shares))
        axis = made.subplots()
        axis.barh(range(len(names)), list(shares.values()), 0.55, color=BLUE)
        for place, share in enumerate(shares.values()):
            axis.annotate(f"{share:.0%}", (share, place), (4, 0), textcoords="offset points", va="center", color=GREY)
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(axis="y", colors=INK)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim(0, 1.12 * max(max(shares.values()), 1e-9))
        axis.set_xticks([])
        axis.grid(visible=False)
        axis.spines["bottom"].set_visible(False)
        axis.set_title("What the differences between trials come from")
        save(made, path)


class _Axis:
    """The values of one key as heights from 0 to 1, with the labels beside them."""

    def __init__(self, values: Sequence[Any], log: bool):
        self.marks: list[tuple[float, str]]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            numbers = np.array(values, np.float64)
            scaled = np.log(numbers) if log and (numbers > 0).all() else numbers
            low, room = float(scaled.min()), float(np.ptp(scaled)) or 1.0
            self.places = (scaled - low) / room if np.ptp(scaled) else np.full(len(scaled), 0.5)
            different = np.unique(numbers)
            few = different if len(different) <= 5 else self._between(numbers, scaled is not numbers)
            at = (np.log(few) if scaled is not numbers else few) - low
            self.marks = [(float(place / room) if np.ptp(scaled) else 0.5, f"{one:.4g}") for place, one in zip(at, few)]
        else:
            names = list(dict.fromkeys(map(str, sorted(values, key=str))))
            self.places = np.array([names.index(str(value)) for value in values]) / max(1, len(names) - 1)
            if len(names) == 1:
                self.places = np.full(len(values), 0.5)
            self.marks = [
                (k / (len(names) - 1) if len(names) > 1 else 0.5, shorten(one, 18)) for k, one in enumerate(names)
            ]

    @staticmethod
    def _between(numbers: np.ndarray, log: bool) -> np.ndarray:
        low, high = float(numbers.min()), float(numbers.max())
        return np.geomspace(low, high, 4) if log else np.linspace(low, high, 4)


def _draw_axis(axis: Axes, place: int, one: _Axis, key: str, last: bool) -> None:
    axis.vlines(place, 0, 1, color=INK if last else PALE, linewidth=1.2, zorder=3)
    for height, mark in one.marks:
        axis.annotate(f"{float(mark):.3g}" if _is_number(mark) else mark, (place, height), (5, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK, zorder=4)  # fmt: skip
    section, _, word = key.rpartition(".")
    if section:
        axis.annotate(shorten(section, 20), (place, 1.12), ha="left", fontsize=8, color=GREY)
    axis.annotate(shorten(word, 20), (place, 1.06), ha="left", fontsize=9, color=INK, fontweight="bold")


def _is_number(mark: str) -> bool:
    try:
        float(mark)
    except ValueError:
        return False
    return True


def _limits(values: np.ndarray, higher: bool) -> tuple[float, float]:
    """Return limits in which the good trials can be told apart; bad ones may be outside."""
    low, high = float(values.min()), float(values.max())
    middle = float(np.median(values))
    if higher:
        low = max(low, high - 4 * max(high - middle, 1e-3))
    else:
        high = min(high, low + 4 * max(middle - low, 1e-3))
    room = max(0.08 * (high - low), 1e-4)
    return low - room, high + room
