"""Residuals compared with shortcuts in the blocks of a residual network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_transfer.plots.style import BLUE, GREY, INK, ORANGE, PALE, figure, save, shorten, styled

__all__ = ["residual_blocks"]

_NAMES_UP_TO = 60  # blocks; of more, every second is named, etc.
_CHANNELS = 2


def residual_blocks(
    sizes: Sequence[Any],
    maps: Sequence[tuple[str, np.ndarray, np.ndarray]],
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Draw the magnitudes of x and F(x) and their ratio for each block, and feature maps of some blocks.

    Feature maps are those of the two channels to which F adds most. The three maps of a channel share a colour scale:
    red is positive, blue negative, white zero.

    Args:
        sizes: the :class:`~keras_transfer.explain.blocks.BlockSize` of each block, in order.
        maps: name, x and F(x), (h, w, c) each, of the blocks whose maps are drawn.
        path: the PNG to write.
        title: title of the figure.

    Raises:
        ValueError: there are no blocks.
        UserError: the file cannot be written.
    """
    if not sizes:
        raise ValueError("expected at least one block")
    names = [shorten(one.name, 24) for one in sizes]
    with styled([*names, title]):
        rows = len(maps)
        made = figure(8.6, 4.8 + 1.5 * rows)
        parts: Any = made.subfigures(2, 1, height_ratios=[4.8, 1.5 * rows]) if rows else (made, None)
        above, below = parts
        lines, bars = above.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _sizes(lines, sizes)
        _ratios(bars, sizes, names)
        if title:
            made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        if below is not None:
            grid = below.subplots(rows, 3 * _CHANNELS, squeeze=False)
            for row, (name, x, f) in zip(grid, maps):
                _maps(row, shorten(name, 18), x, f)
        save(made, path)


def _sizes(axis: Axes, sizes: Sequence[Any]) -> None:
    places = range(len(sizes))
    axis.plot(places, [one.output for one in sizes], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="x + F(x)")
    axis.plot(places, [one.shortcut for one in sizes], "o-", color=BLUE, label="shortcut x")
    axis.plot(places, [one.residual for one in sizes], "o-", color=ORANGE, label="residual F(x)")
    axis.set_ylim(bottom=0)
    axis.set_title("Root mean square of the summands")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _ratios(axis: Axes, sizes: Sequence[Any], names: Sequence[str]) -> None:
    """Draw bars of F(x) / x, pale where the shortcut is a projection instead of the identity."""
    finite = [one.ratio if np.isfinite(one.ratio) else 0.0 for one in sizes]
    axis.set_axisbelow(True)
    for projected, label, strength in ((False, "identity shortcut", 0.9), (True, "projection shortcut", 0.4)):
        places = [i for i, one in enumerate(sizes) if one.projected is projected]
        if places:
            axis.bar(places, [finite[i] for i in places], 0.6, color=ORANGE, alpha=strength, label=label)
    axis.axhline(1, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.set_title("Ratio F(x) / x")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    step = -(-len(names) // _NAMES_UP_TO)
    shown = range(0, len(names), step)
    axis.set_xticks(shown, [names[i] for i in shown], rotation=90, fontsize=7 if len(names) > 20 else 8, color=INK)
    axis.grid(visible=False, axis="x")
    axis.set_xlim(-0.6, len(names) - 0.4)


def _maps(row: Sequence[Axes], name: str, x: np.ndarray, f: np.ndarray) -> None:
    strongest = np.argsort(-np.abs(f).mean(axis=(0, 1)), kind="stable")[:_CHANNELS]
    for axis in row:
        axis.axis("off")
    for number, channel in enumerate(strongest):
        three = (x[..., channel], f[..., channel], x[..., channel] + f[..., channel])
        limit = max(np.abs(one).max() for one in three) or 1.0
        for axis, values, label in zip(row[3 * number :], three, (f"channel {channel}: x", "F(x)", "x + F(x)")):
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set_title(label, fontsize=8, fontweight="normal")
            for spine in axis.spines.values():
                spine.set(visible=True, color=PALE)
    row[0].set_ylabel(name, fontsize=8)
