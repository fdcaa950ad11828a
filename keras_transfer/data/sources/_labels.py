"""Class names, and labels given as names or numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import MISSING, distinct_names, normal
from keras_transfer.data.sources._text import quoted, unquoted
from keras_transfer.errors import UserError, nearest

ClassNames = Sequence[str] | str | os.PathLike[str] | None

# Lengths are limited because conversion takes time, and Python refuses numbers of more than 4,300 digits.
_INTEGER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})\Z", re.ASCII)


def class_names(classes: ClassNames) -> tuple[str, ...] | None:
    """Return class names from a sequence or a text file with one per line; None stays None.

    Raises:
        UserError: the file is missing or empty, a name is blank or missing, or occurs twice.
    """
    if classes is None:
        return None
    names: Iterable[object]
    if isinstance(classes, (str, os.PathLike)):
        lines = (line.strip(" \t") for line in read_lines(classes, "class names"))
        names = [unquoted(line) for line in lines if line]
        if not names:
            raise UserError(f"no class names in {str(classes)!r}")
    else:
        names = classes
    try:
        return tuple(distinct_names(names))
    except ValueError as error:
        raise UserError(f"classes: {error}") from None


def name_lines(names: Iterable[str]) -> str:
    """Return the text of a file of class names, which :func:`class_names` reads back."""
    return "".join(f"{quoted(name)}\n" for name in names)


def read_lines(path: str | os.PathLike[str], what: str) -> list[str]:
    r"""Return the lines of a UTF-8 text file, which end in \n or \r\n; raises UserError if it cannot be read."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text ({what}): {error.reason} at byte {error.start}") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the {what} {str(path)!r}: {reason}") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def index_labels(
    written: Sequence[str], classes: tuple[str, ...] | None, where: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Turn labels as written into indices.

    What a label means depends on the class names alone, not on which labels occur. If a class name is a number, labels are names;
    otherwise a number is a place in the class names (from 0), and other labels are names. Without class names, the labels themselves
    are the classes, in their own writing: in numerical order if all are numbers, else in alphabetical order.

    Args:
        written: the label of each sample.
        classes: class names, or None.
        where: returns the place of sample i ("file:line"), for errors.

    Returns:
        Class names and int64 labels (n,).

    Raises:
        UserError: a label that is out of range or not a class name, that stands for a missing value, or a number in two writings.
    """
    distinct = dict.fromkeys(written)
    if classes is None:
        table = _own_classes(distinct, lambda label: where(written.index(label)))
        classes = tuple(table)
        table = {label: table[normal(label)] for label in distinct}
    else:
        table = _places(distinct, classes, lambda label: where(written.index(label)))
    return classes, np.fromiter((table[label] for label in written), np.int64, len(written))


def _own_classes(labels: Iterable[str], where: Callable[[str], str]) -> dict[str, int]:
    """Return name → place of the classes that labels make."""
    names = list(dict.fromkeys(normal(label) for label in labels))
    values: dict[str, Fraction] = {}
    first: dict[Fraction, str] = {}
    for label in labels:
        if label in MISSING:
            raise UserError(
                f"{where(label)}: the label {label!r} stands for a missing value; give the image a label, or name the class in `classes`"
            )
        if not _NUMBER.match(label):
            continue
        value = values[label] = Fraction(label)
        if value < 0:
            raise UserError(f"{where(label)}: label {label} is out of range: expected 0 or more")
        if first.setdefault(value, label) != label:
            raise UserError(
                f"{where(label)}: the label {label!r} is the same number as {first[value]!r} at {where(first[value])}: write it in one "
                "way, or give `classes`"
            )
    in_order = sorted(names, key=values.__getitem__) if len(values) == len(names) else sorted(names)
    return {name: i for i, name in enumerate(in_order)}


def _places(labels: Iterable[str], classes: tuple[str, ...], where: Callable[[str], str]) -> dict[str, int]:
    """Return label → place in the class names."""
    by_name = {name: i for i, name in enumerate(classes)}
    labels = list(labels)
    by_place = not any(map(_INTEGER.match, classes)) and all(map(_INTEGER.match, labels))
    table = {}
    for label in labels:
        table[label] = int(label) if by_place else by_name.get(normal(label), -1)
        if by_place and not 0 <= table[label] < len(classes):
            raise UserError(f"{where(label)}: label {label} is out of range: expected 0..{len(classes) - 1}")
        if table[label] < 0:
            hint = nearest(label, classes) or (f" ({', '.join(map(repr, classes))})" if len(classes) <= 10 else "")
            if _INTEGER.match(label) and all(map(_INTEGER.match, classes)):
                hint = "; class names that are numbers are names, not places"
            raise UserError(f"{where(label)}: label {label!r} is not one of the {len(classes)} classes{hint}")
    return table


def by_class(values: dict[str, float], classes: Sequence[str], what: str) -> dict[int, float]:
    """Return place → value from class name (or place, where no class name is a number) → value.

    Raises:
        UserError: a name that is not a class, a class that is named twice.
    """
    keys = list(values)
    table = _places(keys, tuple(classes), lambda _: what)
    if len(set(table.values())) < len(keys):
        raise UserError(f"{what}: a class is named twice: {', '.join(map(repr, keys[:10]))}")
    return {table[key]: values[key] for key in keys}
