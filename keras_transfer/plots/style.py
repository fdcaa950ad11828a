"""The style of all figures, and how they are created and saved."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from keras_transfer.files import atomic_write
from keras_transfer.formatting import printable, shorten
from keras_transfer.plots.fonts import families_for

__all__ = [
    "BLUE",
    "COLOURS",
    "DPI",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "Target",
    "figure",
    "phase_bands",
    "save",
    "shorten",
    "styled",
]

Target = str | os.PathLike[str] | TextIO
"""Where a figure goes: a PNG file, or a text stream for SVG."""

# Okabe & Ito, "Color Universal Design", 2008: distinguishable with any of the common colour-vision deficiencies.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, PALE, GRID = "#24292f", "#6e7781", "#d8dee4", "#eaeef2"
COLOURS = {
    colour.lower(): name
    for name, colour in (("ink", INK), ("soft", GREY), ("line", PALE), ("grid", GRID), ("blue", BLUE),
                         ("orange", ORANGE), ("green", GREEN))
}  # fmt: skip
"""Colour in SVG → name of the CSS variable that replaces it in a page."""
DPI = 130
_MAX_BYTES = 190_000

# Names of phases: font size, row height, gap, maximum letters and rows, fraction of the figure's width in the axes.
_PHASE_SIZE, _ROW_HEIGHT, _GAP, _LONGEST, _ROWS, _INSIDE = 8.5, 11.5, 8, 40, 4, 0.9

_STYLE: Any = {
    "axes.edgecolor": PALE,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "text.color": INK,
    "text.parse_math": False,  # a class called "a$b$" is not a formula
    "xtick.color": GREY,
    "xtick.major.size": 0,
    "ytick.color": GREY,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


@contextmanager
def styled(texts: Iterable[str] = ()) -> Iterator[None]:
    """Apply the style of the project, with fonts that can draw `texts`."""
    families = families_for([printable(text) for text in texts])
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    try:
        with warnings.catch_warnings(), matplotlib.rc_context():
            matplotlib.rcdefaults()
            # families_for has warned; matplotlib would repeat it for each occurrence of a glyph, and for each
            # fallback font without a bold face.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            log.setLevel(logging.ERROR)
            matplotlib.rcParams.update({**_STYLE, "font.family": families})
            yield
    finally:
        log.setLevel(level)


def figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure with a size in inches, unknown to pyplot."""
    made = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    engine = made.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.08, h_pad=0.08)
    return made


def save(made: Figure, path: Target, photographs: bool = False) -> None:
    """Write the figure as a PNG, atomically, or to a stream as SVG.

    The PNG has a palette of 256 colours, which takes a third of the size, or fewer if it is still large; with `photographs` it has all
    colours, as a palette would show bands in the sky. The SVG is transparent and deterministic, and keeps text as text.
    """
    if not isinstance(path, (str, os.PathLike)):
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "keras_transfer"}):
            made.savefig(path, format="svg", transparent=True, metadata={"Date": None})
        return
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    data = b""
    for colours in (None,) if photographs else (256, 128, 64):
        buffer = io.BytesIO()
        few = image.quantize(colours, dither=Image.Dither.NONE) if colours else image
        few.save(buffer, "PNG", optimize=True, dpi=(made.dpi, made.dpi))
        data = buffer.getvalue()
        if len(data) < _MAX_BYTES:
            break
    with atomic_write(path) as stream:
        stream.write(data)


def phase_bands(made: Figure, axes: list[Axes], spans: list[tuple[str, float, float]], beside: int = 1) -> None:
    """Mark phases in all `axes`, which share x: a line at each start, and the name above the first axes.

    Names that would overlap move up a row. If there are too many rows, numbers replace names, as far as they fit.

    Args:
        made: the figure of the axes.
        axes: top to bottom, with x limits set. The title of the first is moved up to make room.
        spans: (name, first x, last x) of each phase, in order.
        beside: number of axes side by side in the figure.
    """
    for _, start, _ in spans[1:]:
        for axis in axes:
            axis.axvline(start, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    low, high = axes[0].get_xlim()
    starts = [(start - low) / (high - low) for _, start, _ in spans]
    points = made.get_figwidth() * 72 * _INSIDE / beside
    names = [shorten(name, _LONGEST) for name, _, _ in spans]
    widths = [(_width(made, name) + _GAP) / points for name in names]
    rows = _rows(starts, widths)
    if max(rows, default=0) >= _ROWS:
        names = [str(k + 1) for k in range(len(spans))]
        widths = [(_width(made, name) + _GAP) / points for name in names]
        rows = _rows(starts, widths)
    for name, start, width, row in zip(names, starts, widths, rows):
        if row < _ROWS:
            place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
            offset = (2, 3 + _ROW_HEIGHT * row)
            axes[0].annotate(name, (min(start, 1 - width), 1), offset, fontsize=_PHASE_SIZE, color=GREY, **place)
    used = min(max(rows, default=0) + 1, _ROWS)
    axes[0].set_title(axes[0].get_title("left"), pad=8 + _ROW_HEIGHT * used)


def _rows(starts: list[float], widths: list[float]) -> list[int]:
    """Return the lowest row of each label without overlap; all sizes are fractions of the axes' width."""
    ends: list[float] = []
    rows = []
    for start, width in zip(starts, widths):
        start = min(start, 1 - width)
        row = next((k for k, end in enumerate(ends) if end <= start + 1e-9), len(ends))
        ends[row : row + 1] = [start + width]
        rows.append(row)
    return rows


def _width(made: Figure, text: str) -> float:
    """Return the width of the name of a phase in points."""
    drawn = made.text(0, 0, text, fontsize=_PHASE_SIZE)
    width = drawn.get_window_extent(FigureCanvasAgg(made).get_renderer()).width * 72 / made.dpi
    drawn.remove()
    return float(width)
