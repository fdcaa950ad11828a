"""Names in text files with one record a line: what a line cannot hold as it is, is written as a JSON string."""

from __future__ import annotations

import json
import re
import unicodedata

from keras_transfer.arguments.names import normal

_SPACE = re.compile(r"\s")


def quoted(text: str, spaces: bool = True) -> str:
    """Return text for one field of a line: unchanged, or as a JSON string of visible characters if it would not be read back the same.

    Args:
        text: any text; lone surrogates, which stand for bytes of file names, are allowed.
        spaces: whether the field may contain spaces within.
    """
    plain = text and text == text.strip() and not text.startswith(('"', "\ufeff")) and text == normal(text)
    if plain and all(_visible(c) or (spaces and c == " ") for c in text):
        return text
    written = json.dumps(text)  # ASCII; control characters and all beyond ASCII are escaped
    return written.replace("\x7f", "\\u007f") if spaces else _SPACE.sub(lambda c: f"\\u{ord(c[0]):04x}", written)


def unquoted(text: str) -> str:
    """Return the text that :func:`quoted` was given."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            pass  # a name with quotes that somebody has written by hand
    return text


def _visible(character: str) -> bool:
    return (character.isascii() and character.isprintable() and character != " ") or (
        not character.isascii() and unicodedata.category(character)[0] not in "CZ"
    )
