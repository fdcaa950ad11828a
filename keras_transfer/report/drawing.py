"""Matplotlib's SVG as a part of the page: its colours follow the page's, its names stay its own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TextIO

from markupsafe import Markup, escape

from keras_transfer.plots.style import COLOURS


def drawing(draw: Callable[[TextIO], None], name: str, label: str) -> Markup:
    """An ``svg`` element of what ``draw`` writes.

    Args:
        draw: writes a figure's SVG to a stream: one of `keras_transfer.plots`.
        name: goes before every id, so that several drawings can stand in one page.
        label: what a screen reader says in its place.
    """
    stream = io.StringIO()
    draw(stream)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.S)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="0 0 {box[1]} {box[2]}">'
    text = head + text[text.index(">") + 1 :]
    # Only inside of tags: what stands between them is the user's.
    return Markup(re.sub(r"<[^>]*>", lambda tag: _own(tag[0], name), text))  # noqa: S704


def _own(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub("|".join(COLOURS), lambda colour: f"var(--{COLOURS[colour[0]]})", tag)
