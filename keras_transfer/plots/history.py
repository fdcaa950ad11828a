"""Learning curves by epoch and by iteration."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from keras_transfer.plots.style import BLUE, GREEN, GREY, ORANGE, Target, figure, phase_bands, save, styled

__all__ = ["curves", "iterations"]

_POINTS = 1200  # raw losses are thinned to about two per pixel


def curves(history: Sequence[Mapping[str, Any]], path: Target, beside: bool = False) -> None:
    """Draw loss, accuracy and learning rate by epoch, with the phases marked.

    Args:
        history: a row per epoch, in order: `phase`, `loss`, `accuracy`, `val_loss`, `val_accuracy`, `learning_rate`
            as numbers or as text from a CSV file. Missing values (absent, None, "") leave a gap, columns without
            values are omitted, and values that are not finite are marked by a cross.
        path: the PNG to write, or a text stream for SVG.
        beside: draw loss and accuracy side by side, without the learning rate.

    Raises:
        UserError: the file cannot be written.
    """
    phases = [str(row.get("phase", "")) for row in history]
    epochs = np.arange(1, len(history) + 1)
    rates = _column(history, "learning_rate")
    with_rates = not beside and bool(np.isfinite(rates[rates > 0]).any())
    with styled(phases):
        if beside:
            made = figure(10, 3.3)
            axes = list(made.subplots(1, 2, sharex=True))
            columns = [[axis] for axis in axes]
        else:
            made = figure(8, 7.2 if with_rates else 6)
            ratios = [3, 3, 1.3] if with_rates else [1, 1]
            axes = list(made.subplots(len(ratios), 1, sharex=True, height_ratios=ratios))
            columns = [axes]
        _pair(axes[0], epochs, history, "loss", smallest=True)
        _pair(axes[1], epochs, history, "accuracy", smallest=False)
        axes[0].set_title("Loss")
        axes[1].set_title("Accuracy")
        if with_rates:
            _rates(axes[2], epochs, rates)
        axes[0].set_xlim(0.5, max(len(history), 1) + 0.5)
        for column in columns:
            column[-1].set_xlabel("epoch")
            column[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            phase_bands(made, column, _spans(phases), beside=len(columns))
        save(made, path)


def iterations(losses: Iterable[tuple[str, float]], path: str | os.PathLike[str]) -> None:
    """Draw the loss of every iteration, and a smoothed line for each phase.

    Args:
        losses: (phase, loss), in order; values that are not finite are marked by a cross.
        path: the PNG to write.

    Raises:
        UserError: the file cannot be written.
    """
    losses = list(losses)
    phases = [str(phase) for phase, _ in losses]
    values = np.array([_number(loss) for _, loss in losses], np.float64)
    spans = _spans(phases)
    with styled({name for name, _, _ in spans}):
        made = figure(8, 4.2)
        axis = made.subplots()
        for _, start, end in spans:
            first, last = round(start - 0.5), round(end - 0.5)
            _one_phase(axis, first + 1, values[first:last])
        _crosses(axis, np.arange(1, len(values) + 1), ~np.isfinite(values))
        _loss_scale(axis, values)
        axis.set_title("Loss by iteration")
        axis.set_xlabel("iteration")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axis.set_xlim(0.5, max(len(values), 1) + 0.5)
        phase_bands(made, [axis], spans)
        _legend(axis)
        save(made, path)


def _pair(axis: Axes, epochs: np.ndarray, history: Sequence[Mapping[str, Any]], name: str, smallest: bool) -> None:
    """Draw training and validation values of a metric."""
    train, val = _column(history, name), _column(history, f"val_{name}")
    lines = ((name, "train", train, BLUE), (f"val_{name}", "validation", val, ORANGE))
    for key, label, values, colour in lines:
        finite = np.isfinite(values)
        if finite.any():
            # The line connects over missing values, but breaks at values that are not finite.
            shown = finite | _broken(history, key)
            text = _best(label, values, smallest)
            axis.plot(epochs[shown], values[shown], color=colour, marker="o" if finite.sum() <= 40 else "", label=text)
    for height, (key, _, _, colour) in zip((0.02, 0.06), lines):
        _crosses(axis, epochs, _broken(history, key), colour, height)
    if name == "loss":
        _loss_scale(axis, np.concatenate([train, val]))
    else:
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(axis)


def _best(label: str, values: np.ndarray, smallest: bool) -> str:
    """Return the legend entry, for validation with the best value and its epoch."""
    if label == "train":
        return label
    at = int(np.nanargmin(values) if smallest else np.nanargmax(values))
    value = f"{values[at]:.4g}" if smallest else f"{values[at]:.2%}"
    return f"{label} (best {value}, epoch {at + 1})"


def _rates(axis: Axes, epochs: np.ndarray, rates: np.ndarray) -> None:
    rates = np.where(rates > 0, rates, np.nan)  # a logarithmic axis has no 0
    axis.step(epochs, rates, where="mid", color=GREEN, marker="o" if len(epochs) <= 40 else "")
    _logarithmic(axis, float(np.nanmin(rates)), float(np.nanmax(rates)))
    axis.set_title("Learning rate")


def _logarithmic(axis: Axes, low: float, high: float) -> None:
    """Make the y axis logarithmic, with at least one label, in plain numbers."""
    axis.set_yscale("log")
    bottom, top = low / 1.6, high * 1.6
    axis.set_ylim(bottom, top)
    axis.yaxis.set_major_locator(LogLocator(10, numticks=6))
    if not any(bottom <= tick <= top for tick in axis.get_yticks()):
        axis.yaxis.set_major_locator(FixedLocator(sorted({low, high})))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _one_phase(axis: Axes, first: int, values: np.ndarray) -> None:
    """Draw the raw losses of a phase, and their running mean over about a fortieth of it."""
    if not np.isfinite(values).any():
        return
    x = np.arange(first, first + len(values))
    marker = "o" if len(values) == 1 else ""
    raw_x, raw = _thinned(x, values)
    axis.plot(raw_x, raw, color=BLUE, alpha=0.3, linewidth=0.8, marker=marker, label="each")
    smooth = _smooth(values, max(5, len(values) // 40))
    step = max(1, len(values) // _POINTS)
    axis.plot(x[::step], smooth[::step], color=BLUE, marker=marker, label="smoothed")


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the bias-corrected exponential moving average (Kingma & Ba 2015, section 3), skipping gaps."""
    keep = 1 - 2 / (window + 1)
    total = weight = 0.0
    smooth = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if math.isfinite(value):
            total, weight = keep * total + (1 - keep) * value, keep * weight + 1 - keep
            smooth[i] = total / weight
    return smooth


def _thinned(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return minimum and maximum of each of `_POINTS` runs, which look the same with far fewer points."""
    if len(values) <= 2 * _POINTS:
        return x, values
    size = len(values) // _POINTS
    count = len(values) // size * size
    runs = values[:count].reshape(-1, size)
    filled = np.where(np.isfinite(runs), runs, np.nan)
    gaps = np.isnan(filled).all(axis=1)
    low = np.where(gaps, np.nan, np.fmin.reduce(filled, axis=1))
    high = np.where(gaps, np.nan, np.fmax.reduce(filled, axis=1))
    return np.repeat(x[:count:size], 2), np.stack([low, high], axis=1).ravel()


def _loss_scale(axis: Axes, values: np.ndarray) -> None:
    """Make the axis logarithmic where a linear one would flatten everything but the start or a divergence."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > min(200 * np.median(values), 20 * values[0]):
        _logarithmic(axis, float(values.min()), float(values.max()))
    elif len(values) and values.min() >= 0:
        axis.set_ylim(bottom=max(0.0, axis.get_ylim()[0]))


def _crosses(axis: Axes, x: np.ndarray, where: np.ndarray, colour: str = GREY, height: float = 0.03) -> None:
    """Mark values that are NaN or infinite by crosses at the bottom of the axes."""
    if where.any():
        axis.plot(
            x[where],
            np.full(where.sum(), height),
            "x",
            color=colour,
            transform=axis.get_xaxis_transform(),
            clip_on=False,
            markersize=6,
            label="not finite",
        )


def _legend(axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        unique = dict(zip(labels, handles))
        axis.legend(unique.values(), unique.keys(), loc="best")
    else:
        axis.text(0.5, 0.5, "nothing recorded", transform=axis.transAxes, ha="center", va="center", color=GREY)
        axis.set_yticks([])
        axis.grid(False)


def _spans(phases: Sequence[str]) -> list[tuple[str, float, float]]:
    """Return (name, start, end) of each run of equal names; item i of `phases` is at x = i + 1."""
    spans, position = [], 0.5
    for name, run in groupby(phases):
        end = position + len(list(run))
        spans.append((name, position, end))
        position = end
    return spans


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Return float64 (epochs,), with NaN for values that are missing or not finite."""
    values = np.array([_number(row.get(name)) for row in history], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _broken(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Return where a value was recorded but is not finite."""
    given = [row.get(name) not in (None, "") for row in history]
    return np.array(given, bool) & np.isnan(_column(history, name))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
