"""Confusion matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_transfer.evaluation.confusion import Cells
from keras_transfer.evaluation.metrics import most_confused
from keras_transfer.plots.style import GREY, INK, figure, save, shorten, styled

__all__ = ["confusion"]

_NUMBERS_UP_TO = 20  # classes; of more, the counts are too small to read
_NAMES_UP_TO = 200  # likewise class names
_CELLS_UP_TO = 1000  # classes; of more, neighbours share a cell
_PAIRS = 20

_COLOURS = LinearSegmentedColormap.from_list("confusion", ["#f6f8fa", "#cfe3f3", "#6aaed6", "#0072B2", "#003a63"])
_EMPTY_ROW = "#dcdcdc"
# The square root makes shares of a few percent visible, which is where mistakes are.
_NORM = PowerNorm(0.5, 0, 1)

# Inches: margin of the class names, above the matrix, of the colour bar and of the list of pairs.
_MARGIN, _HEAD, _BAR, _LIST = 0.45, 0.62, 0.95, 3.1


def confusion(matrix: Any, classes: Sequence[str], path: str | os.PathLike[str], title: str = "") -> None:
    """Draw a confusion matrix, coloured by the share of the true class, so that rare classes are visible.

    Up to 20 classes, cells contain counts; of more, the most confused pairs are listed beside the matrix. Rows of
    classes without samples are grey.

    Args:
        matrix: (C, C) counts or weights, rows true, columns predicted; or its cells, see `Cells.read`.
        classes: the C class names.
        path: the PNG to write.
        title: replaces "Confusion matrix"; the accuracy is always shown below.

    Raises:
        ValueError: the matrix does not have a row and a column for each class.
        UserError: the file cannot be written.
    """
    n = len(classes)
    counts = Cells.read(matrix)
    if n == 0 or counts.classes != n:
        raise ValueError(f"expected a confusion matrix ({n}, {n}) with at least one class, got {(counts.classes,) * 2}")
    names = [shorten(name, 24 if n <= _NUMBERS_UP_TO else 18) for name in classes]
    pairs = most_confused(counts, [shorten(name, 18) for name in classes], _PAIRS) if n > _NUMBERS_UP_TO else []
    with styled([*names, *(pair[key] for pair in pairs for key in ("true", "predicted")), title]):
        side, font = _size(n)
        made = figure(side, side, layout=None)
        axis = made.add_axes((0.1, 0.1, 0.8, 0.8))
        _draw(axis, counts, names, font)
        _place(made, axis, side, bool(pairs))
        _headings(made, axis, title, counts)
        if pairs:
            _list(made, axis, pairs)
        save(made, path)


def _size(n: int) -> tuple[float, float]:
    """Return the side of the matrix in inches and the font size of its labels."""
    if n <= _NUMBERS_UP_TO:
        return max(2.2, 0.42 * n + 0.6), 9.0 if n <= 12 else 8.0
    if n <= _NAMES_UP_TO:
        side = min(12.5, max(7.0, n * 0.1))
        return side, float(np.clip(side * 72 / n * 0.95, 4.0, 8.0))
    return 9.0, 8.0


def _place(made: Figure, axis: Axes, side: float, with_list: bool) -> None:
    """Give the matrix a side of `side` inches, and the figure the space that its labels need."""
    renderer = FigureCanvasAgg(made).get_renderer()
    boxes = [[t.get_window_extent(renderer) for t in a.get_ticklabels()] for a in (axis.yaxis, axis.xaxis)]
    left = max(box.width for box in boxes[0]) / made.dpi + _MARGIN
    bottom = max(box.height for box in boxes[1]) / made.dpi + _MARGIN
    width = max(left + side + _BAR + (_LIST if with_list else 0.1), 3.2)
    height = bottom + side + _HEAD
    made.set_size_inches(width, height)
    axis.set_position((left / width, bottom / height, side / width, side / height))
    length = min(side, 4.0)
    bar = made.add_axes(
        ((left + side + 0.15) / width, (bottom + side - length) / height, 0.13 / width, length / height)
    )
    _bar(bar)


def _headings(made: Figure, axis: Axes, title: str, counts: Cells) -> None:
    """Draw title and result, aligned with the matrix if they fit, else with the figure."""
    width, height = made.get_size_inches()
    left = axis.get_position().x0 * width
    text, result = shorten(title or "Confusion matrix", max(24, int(width * 10))), _result(counts)
    left = left if left + max(len(text) * 0.1, len(result) * 0.075) < width else 0.12
    made.text(left / width, 1 - 0.12 / height, text, va="top", fontsize=11, fontweight="bold")
    made.text(left / width, 1 - 0.34 / height, result, va="top", fontsize=9, color=GREY)


def _draw(axis: Axes, counts: Cells, names: list[str], font: float) -> None:
    n = len(names)
    shares = counts.shares(_CELLS_UP_TO)
    colours = _COLOURS.with_extremes(bad=_EMPTY_ROW)
    edges = (-0.5, n - 0.5)
    axis.imshow(shares, cmap=colours, norm=_NORM, interpolation="nearest", aspect="auto", extent=(*edges, *edges[::-1]))
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if n <= _NAMES_UP_TO:
        flat = max(map(len, names)) * font * 0.75 / 72 < _size(n)[0] / n
        axis.set_xticks(range(n), names, fontsize=font, rotation=0 if flat else 90)
        axis.set_yticks(range(n), names, fontsize=font)
        axis.tick_params(colors=INK)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(10, integer=True))
    if n <= _NUMBERS_UP_TO:
        _numbers(axis, counts, shares)
        lines = np.arange(n + 1) - 0.5
        axis.hlines(lines, *edges, color="white", linewidth=1.5)
        axis.vlines(lines, *edges, color="white", linewidth=1.5)


def _numbers(axis: Axes, counts: Cells, shares: np.ndarray) -> None:
    """Draw the counts; zeros stay empty, so that mistakes stand out."""
    for i, j, count in zip(counts.true, counts.predicted, counts.count):
        dark = np.nan_to_num(shares[i, j]) > 0.35
        text = _compact(count)
        size = 9 if len(text) <= 4 else 7
        axis.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if dark else INK)


def _compact(value: float) -> str:
    if value >= 100_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"


def _bar(axis: Axes) -> None:
    steps = np.linspace(0, 1, 256)
    axis.pcolormesh([0, 1], np.linspace(0, 1, 257), steps[:, None] ** 2, cmap=_COLOURS, norm=_NORM)
    shares = np.array([0, 0.05, 0.2, 0.5, 1])
    axis.set_yticks(np.sqrt(shares), [f"{share:.0%}" for share in shares], fontsize=8)
    axis.yaxis.tick_right()
    axis.yaxis.set_label_position("right")
    axis.set_ylabel("share of the true class", color=GREY, fontsize=8)
    axis.set_xticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _result(counts: Cells) -> str:
    total, right = counts.count.sum(), counts.right()
    return f"{_long(right)} of {_long(total)} correct ({right / total:.2%})" if total else "no samples"


def _long(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _list(made: Figure, axis: Axes, pairs: list[dict[str, Any]]) -> None:
    width, height = made.get_size_inches()
    left = axis.get_position().x1 + _BAR / width
    y = height - 0.12
    made.text(left, y / height, "Most confused", va="top", fontsize=11, fontweight="bold")
    made.text(left, (y - 0.22) / height, "true → predicted", va="top", fontsize=9, color=GREY)
    for k, pair in enumerate(pairs):
        below = y - 0.55 - 0.345 * k
        share = f"{_compact(pair['count'])} samples, {pair['share']:.0%} of the class"
        made.text(left, below / height, f"{pair['true']} → {pair['predicted']}", va="top", fontsize=8.5)
        made.text(left, (below - 0.155) / height, share, va="top", fontsize=7.5, color=GREY)
