"""Numbers and names as text for people."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence

from keras_transfer.text import is_unsafe


def share(value: float | None) -> str:
    """Return a percentage with one decimal; only 1 is 100 %, and only 0 is 0 %."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0 < value < 0.0005:
        return "<\u00a00.1\u00a0%"
    if 0.9995 <= value < 1:
        return ">\u00a099.9\u00a0%"
    return f"{100 * value:.1f}\u00a0%"


def range_of(interval: Sequence[float], form: Callable[[float], str] = share) -> str:
    """Return ``low to high``."""
    return f"{form(interval[0])} to {form(interval[1])}"


def seconds(value: float) -> str:
    """Return a duration in a suitable unit."""
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def images(count: int, kind: str = "") -> str:
    """Return ``1 test image``, ``2,000 images``."""
    return f"{count:,} {kind + ' ' if kind else ''}image{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Replace control characters, also those of the writing direction, by spaces, and lone surrogates and unassigned code points by question marks.

    File names that are not valid in the file system's encoding reach Python with lone surrogates in them.
    """
    replaced = {"Cc": " ", "Cs": "?", "Zl": " ", "Zp": " ", "Cn": "?"}
    return "".join(
        c if c == "\n" else replaced.get(unicodedata.category(c), " " if is_unsafe(c) else c) for c in str(text)
    )


def shorten(text: str, limit: int) -> str:
    """Return `text` on one line, shortened in the middle to `limit`: both ends of a name distinguish it."""
    text = " ".join(printable(text).split())
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
