"""Reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from keras_transfer.plots.style import BLUE, GREY, ORANGE, Target, figure, save, styled

__all__ = ["reliability"]


def reliability(metrics: Mapping[str, Any], path: Target) -> None:
    """Draw a reliability diagram: accuracy against confidence, and below it the distribution of the confidence.

    Args:
        metrics: the result of `classification_metrics`; `calibration` and `ece` are used.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        UserError: the file cannot be written.
    """
    bins = metrics["calibration"]
    count = np.array(bins["count"], np.float64)
    edges = np.linspace(0, 1, len(count) + 1)
    middle, width = (edges[:-1] + edges[1:]) / 2, 0.92 / len(count)
    filled = count > 0
    accuracy, confidence = (np.array(bins[k], np.float64)[filled] for k in ("accuracy", "confidence"))
    with styled():
        made = figure(4.8, 5.4)
        above, below = made.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
        above.bar(middle[filled], accuracy, width, color=BLUE, alpha=0.85, label="accuracy")
        gap: Any = {
            "facecolor": "none",
            "edgecolor": ORANGE,
            "hatch": "////",
            "linewidth": 1,
            "label": "gap to confidence",
        }
        above.bar(middle[filled], confidence - accuracy, width, bottom=accuracy, **gap)
        above.set(xlim=(0, 1), ylim=(0, 1))
        above.set_title(f"Calibration: expected error {metrics['ece']:.2%}")
        above.legend(loc="best")
        below.bar(middle, count / max(count.sum(), 1), width, color=GREY, alpha=0.6)
        below.set_xlabel("confidence of the prediction")
        below.set_title("Share of the samples", fontsize=9, fontweight="normal")
        for axis in (above, below):
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        save(made, path)
