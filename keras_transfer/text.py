"""Text of others made safe to print: class names, file names and messages reach no terminal raw, and no console ends a run."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import IO

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which a terminal or a page shows others."""
_UNSAFE = frozenset(["Cc", "Cs", "Zl", "Zp"])
_PLAIN = str.maketrans({"\u00a0": " ", "•": "-", "“": '"', "”": '"', "–": "-", "…": "..", "✓": "*", "±": "~", "→": "->", "×": "x",
                        "─": "-", "━": "-", "╸": "-", "╺": "-"})  # fmt: skip
_SCHEME = "keras_transfer"


def is_unsafe(character: str) -> bool:
    """Say whether a character controls a terminal or the order of text: C0 and C1 controls, line separators, bidi, lone surrogates."""
    return character in _BIDI or unicodedata.category(character) in _UNSAFE


def visible(text: object, keep: str = "\n\t") -> str:
    r"""Return text with unsafe characters escaped as in Python (``\x1b``), except those in `keep`."""
    written = str(text)
    if written.isascii() and written.isprintable():
        return written
    return "".join(c if c in keep or not is_unsafe(c) else c.encode("unicode_escape").decode() for c in written)


def one_line(text: object) -> str:
    """Return text on one line, with unsafe characters escaped: for a name within a line."""
    return visible(text, keep="")


def write(stream: IO[str] | None, text: str) -> None:
    """Write text to a stream; of what its encoding lacks, signs get their plain form and letters are escaped.

    A stream that is missing (as in a window without console) is left out.
    """
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, _SCHEME).decode(encoding))


def say(line: object = "") -> None:
    """Print a line, or several, like `print`, made safe; the default of all functions that take `say`."""
    write(sys.stdout, f"{visible(line)}\n")


def complain(line: object = "") -> None:
    """Print to standard error; see :func:`say`."""
    write(sys.stderr, f"{visible(line)}\n")


def never_fail() -> None:
    """Make this process's standard streams do the same as :func:`write`, also for libraries that write to them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors=_SCHEME)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        return codecs.backslashreplace_errors(error)
    letters = error.object[error.start : error.end].translate(_PLAIN)
    return letters.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_SCHEME, _plain)
