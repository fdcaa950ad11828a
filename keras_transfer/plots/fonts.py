"""Fonts for class names in any script.

Matplotlib draws each character with the first font of a list that has it. This module finds such a list among the
installed fonts. Characters without a font are drawn as boxes, with a warning once per process.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from keras_transfer.formatting import printable

__all__ = ["families_for"]

BASE = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew …"""

# Text fonts take precedence over others that happen to have the glyphs.
_PREFERRED = ("Noto Sans", "Source Han Sans", "WenQuanYi", "IPA", "PingFang", "Hiragino", "Microsoft", "Arial Unicode")

_SUGGESTIONS = (
    (("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "Noto Sans CJK (Debian: fonts-noto-cjk)"),
    (("EMOJI", "FACE", "SYMBOL"), "Noto Emoji (Debian: fonts-noto-color-emoji)"),
)
_warned: set[str] = set()


def families_for(texts: Iterable[str]) -> list[str]:
    """Return font families that together have the characters of `texts`, the base font first.

    Warns (UserWarning) about characters that no installed font has, once per character and process.
    """
    wanted = {c for text in texts for c in printable(text)}
    families = [BASE]
    missing = wanted - _characters(_path_of(BASE))
    for name, path in _installed() if missing else ():
        if not missing:
            break
        if covered := missing & _characters(path):
            families.append(name)
            missing -= covered
    _warn(missing)
    return families


def _warn(missing: set[str]) -> None:
    # Formatting and combining marks have no glyph of their own.
    new = sorted(c for c in missing - _warned if unicodedata.category(c) not in ("Cf", "Mn", "Zs") and c != "\n")
    _warned.update(new)
    if not new:
        return
    shown = "".join(new[:20]) + (f" … ({len(new)} characters)" if len(new) > 20 else "")
    warnings.warn(
        f"no installed font has {shown}: drawn as boxes in the plots; install {_suggestion(new)}", stacklevel=6
    )


def _suggestion(characters: Iterable[str]) -> str:
    names = [unicodedata.name(c, "") for c in characters]
    fitting = [font for words, font in _SUGGESTIONS if any(word in name for name in names for word in words)]
    return " and ".join(fitting) or "a font for that script, e.g. from Noto Sans (Debian: fonts-noto-core)"


@lru_cache(maxsize=1)
def _installed() -> list[tuple[str, str]]:
    """Return (family, path) of every installed regular font, preferred ones first, then by name."""
    fonts = {
        f.name: f.fname
        for f in font_manager.fontManager.ttflist
        # The Last Resort font has a box for everything; matplotlib cannot draw colour bitmaps.
        if f.style == "normal"
        and str(f.weight) in ("400", "normal", "regular")
        and not f.name.startswith("Last Resort")
        and "Color" not in f.name
    }
    usable = [(name, path) for name, path in fonts.items() if Path(path).exists()]
    return sorted(usable, key=lambda font: (not font[0].startswith(_PREFERRED), font[0]))


def _path_of(family: str) -> str:
    return str(font_manager.findfont(family))


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (RuntimeError, OSError):  # ignore fonts that FreeType cannot read
        return frozenset()
