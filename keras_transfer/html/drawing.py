"""Matplotlib figures as inline SVG, in the colours of the page around them and with ids of their own."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from markupsafe import Markup, escape

from keras_transfer import plots
from keras_transfer.plots.style import COLOURS


def drawing(draw: Callable[[TextIO], None], label: str, name: str = "") -> Markup:
    """Return a figure as an ``svg`` element.

    Args:
        draw: writes a figure's SVG to a stream: one of `keras_transfer.plots`.
        label: the text for screen readers.
        name: prefix of every id, so that several figures can share a page; by default a random one.
    """
    name = name or f"kt-{uuid.uuid4().hex[:8]}"
    stream = io.StringIO()
    draw(stream)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.S)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="0 0 {box[1]} {box[2]}">'
    text = head + text[text.index(">") + 1 :]
    # Only inside tags: the text between them is the user's.
    return Markup(re.sub(r"<[^>]*>", lambda tag: _localized(tag[0], name), text))  # noqa: S704


def _localized(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub("|".join(COLOURS), lambda colour: f"var(--{COLOURS[colour[0]]})", tag)


def curves(history: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw loss and accuracy by epoch, training and validation, with the phases marked."""
    label = f"Loss and accuracy of {len(history)} epochs, training and validation"
    return drawing(lambda out: plots.curves(history, out, beside=True), label)
