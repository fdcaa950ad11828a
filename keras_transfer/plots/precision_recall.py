"""Precision-recall curves of several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import PercentFormatter

from keras_transfer.plots.style import BLUE, Target, figure, save, styled
from keras_transfer.text import one_line

__all__ = ["precision_recall"]

_COLUMNS = 6


def precision_recall(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Target) -> None:
    """Draw a small diagram for each label: precision against recall.

    Args:
        curves: name → ``recall`` and ``precision``, as in `multilabel_metrics`; at least one.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        UserError: the file cannot be written.
    """
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    with styled():
        made = figure(1.6 * columns + 0.6, 1.6 * rows + 0.5)
        axes = made.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, (name, curve) in zip(axes, curves.items()):
            axis.step(curve["recall"], curve["precision"], where="post", color=BLUE, linewidth=1.4)
            axis.set(xlim=(-0.02, 1.02), ylim=(0, 1.04))
            axis.set_title(one_line(name)[:22], fontsize=8, fontweight="normal", parse_math=False)
            axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axis.tick_params(labelsize=6)
        for axis in axes[len(curves) :]:
            axis.set_axis_off()
        axes[(rows - 1) * columns].set_xlabel("recall", fontsize=7)
        axes[0].set_ylabel("precision", fontsize=7)
        save(made, path)
