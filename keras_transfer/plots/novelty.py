"""Histogram of the novelty of known images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_transfer.plots.style import BLUE, ORANGE, Target, figure, save, styled

__all__ = ["novelty_histogram"]


def novelty_histogram(found: Mapping[str, Any], path: Target) -> None:
    """Draw how many images have which novelty; those beyond 0 are rejected.

    Args:
        found: the result of `keras_transfer.evaluation.novelty.novelty_metrics`.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        UserError: the file cannot be written.
    """
    edges, counts = (np.array(found["histogram"][key], np.float64) for key in ("edges", "counts"))
    with styled():
        made = figure(5.4, 2.8)
        axis = made.subplots()
        colours = [ORANGE if middle > 0 else BLUE for middle in (edges[:-1] + edges[1:]) / 2]
        axis.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours, alpha=0.85)
        axis.axvline(0, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)))
        axis.set_xlabel("novelty; above 0: none of these")
        axis.set_title(f"Images by novelty: {found['rejected']:.1%} rejected, {found['rate']:.1%} asked for")
        save(made, path)
