"""Learning-rate range tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_transfer.plots.style import BLUE, INK, Target, figure, save, shorten, styled

__all__ = ["rate_sweeps"]


def rate_sweeps(sweeps: Sequence[Any], path: Target) -> None:
    """Draw loss against learning rate with the suggestion marked, a panel per phase.

    Args:
        sweeps: the :class:`~keras_transfer.training.range_test.Sweep` of each phase.
        path: the PNG to write, or a text stream for SVG.

    Raises:
        UserError: the file cannot be written.
    """
    with styled(one.phase for one in sweeps):
        made = figure(8, 0.6 + 2.6 * len(sweeps))
        for axis, one in zip(made.subplots(len(sweeps), 1, sharex=True, squeeze=False)[:, 0], sweeps):
            smooth = np.array(one.smoothed)
            axis.plot(one.rates, one.losses, color=BLUE, alpha=0.3, linewidth=0.8, label="each batch")
            axis.plot(one.rates, smooth, color=BLUE, label="smoothed")
            axis.axvline(
                one.suggestion, color=INK, linestyle="--", linewidth=1.2, label=f"suggestion {one.suggestion:g}"
            )
            axis.set_xscale("log")
            room = max(float(np.ptp(smooth[: int(smooth.argmin()) + 1])), 0.05 * abs(float(smooth.min())), 1e-3)
            top = max(float(smooth[0]), float(smooth.min()) + room) + room  # a divergence may leave the axes
            at = float(np.interp(np.log(one.suggestion), np.log(one.rates), smooth))
            top = max(top, at + 0.15 * (at - float(smooth.min())))  # the suggestion may not
            axis.plot([one.suggestion], [at], "o", color=INK, markersize=6)
            axis.set_ylim(float(smooth.min()) - 0.3 * room, top)
            axis.xaxis.set_major_locator(LogLocator(10, numticks=12))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_title(f"Loss while training {shorten(one.phase, 40)}")
            axis.legend(loc="best")
        axis.set_xlabel("learning rate")
        save(made, path)
