"""Several labels of a picture as one text, as in a CSV file: ``cat;dog``, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SEPARATOR = ";"


def joined(names: Iterable[str]) -> str:
    """Return the labels as a text that is the same whatever their order."""
    return SEPARATOR.join(sorted(set(names)))


def names_of(text: str, several: bool) -> list[str]:
    """Return the labels of a picture: the text itself, or where there may be several, those between the separators."""
    if not several:
        return [text]
    return list(dict.fromkeys(name for name in map(str.strip, text.split(SEPARATOR)) if name))


def relabelled(text: str, names: Mapping[str, str], several: bool) -> str:
    """Return the text with other names for some labels."""
    return joined(names.get(name, name) for name in names_of(text, several)) if several else names.get(text, text)
