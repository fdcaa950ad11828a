"""Names of classes: text with a meaning, in one Unicode form, each only once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from keras_transfer.arguments.problems import short
from keras_transfer.arguments.types import ordered, plain

MISSING = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "NaT",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
"""What programs write where a value is missing: the list that pandas reads as missing, and its NaT."""


def normal(text: str) -> str:
    """Return text in the composed Unicode form (NFC), so that the same letters are the same name on every system."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def class_name(value: Any) -> str:
    """Return a class name: text, or a whole number in its usual writing.

    Raises:
        ValueError: a missing value, a number with a fraction, a truth value, blank text, text that no file can hold.
    """
    value = plain(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected class names as text, got {short(value)}")
    if not value.strip():
        raise ValueError(f"expected class names, got {value!r}, which is blank")
    if "\0" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError(f"the class name {value!r} is not valid text (UTF-8 without NUL); rename it")
    return normal(value)


def distinct_names(values: Iterable[Any]) -> list[str]:
    """Return class names in their order; raises ValueError if one occurs twice, or there is none."""
    names = [class_name(value) for value in values]
    if not names:
        raise ValueError("expected class names, got an empty list")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the class name {name!r} occurs twice")
        seen.add(name)
    return names


def _names(value: Any) -> list[str]:
    return distinct_names(ordered(value))


def _names_or_file(value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    return None if value is None else _names(value)


def _written_names(value: Any) -> Any:
    for name in value if isinstance(value, list) else ():
        if isinstance(name, (int, float)):  # YAML reads 010 as 8 and no as false
            raise ValueError(f"expected class names as text, in quotes, got {short(name)}")
    return value


if TYPE_CHECKING:  # what may be given; it arrives as a list or text
    ClassNames = Sequence[str]
    NamesOrFile = Sequence[str] | str | os.PathLike[str] | None
else:
    ClassNames = Annotated[list[str], BeforeValidator(_names)]
    NamesOrFile = Annotated[list[str] | str | None, BeforeValidator(_names_or_file)]
"""Class names in label order, or (`NamesOrFile`) a text file with one a line."""
WrittenNames = Annotated[list[str] | str | None, BeforeValidator(_names_or_file), BeforeValidator(_written_names)]
"""The same in a configuration, whose numbers and truth values may have been written in another way."""
