"""Class names, and labels given as names or numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_transfer.errors import UserError, nearest

ClassNames = Sequence[str] | str | os.PathLike[str] | None

_INTEGER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)  # longer ones are names: Python refuses to read them


def class_names(classes: ClassNames) -> tuple[str, ...] | None:
    """Return class names from a sequence or a text file with one per line; None stays None.

    Raises:
        UserError: the file is missing or empty, or a name occurs twice.
    """
    if classes is None:
        return None
    if isinstance(classes, (str, os.PathLike)):
        names = [line.strip() for line in read_lines(classes, "class names")]
        names = [name for name in names if name]
    else:
        names = [str(name) for name in classes]
    if not names:
        raise UserError(f"no class names in {str(classes)!r}")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(f"the class name {twice!r} occurs twice")
    return tuple(names)


def read_lines(path: str | os.PathLike[str], what: str) -> list[str]:
    """Return the lines of a UTF-8 text file; raises UserError if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text ({what}): {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise UserError(f"cannot read the {what} {str(path)!r}: {error.strerror or error}") from None


def index_labels(
    written: Sequence[str], classes: tuple[str, ...] | None, where: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Turn labels as written into indices.

    If every label is a class name, labels are names; otherwise, if all are integers, they are indices into the class
    names. Without class names, the labels themselves are the classes: in numerical order if all are integers, else in
    alphabetical order.

    Args:
        written: the label of each sample.
        classes: class names, or None.
        where: returns the place of sample i ("file:line"), for errors.

    Returns:
        Class names and int64 labels (n,).

    Raises:
        UserError: a label that is out of range or not a class name.
    """
    distinct = dict.fromkeys(written)
    numeric = all(_INTEGER.match(label) for label in distinct)
    if classes is None:
        if numeric:
            numbers = sorted({int(label) for label in distinct})
            if numbers and numbers[0] < 0:
                first = next(i for i, label in enumerate(written) if int(label) < 0)
                raise UserError(f"{where(first)}: label {written[first]} is out of range: expected 0 or more")
            classes = tuple(str(number) for number in numbers)
            place_of = {number: i for i, number in enumerate(numbers)}
            table = {label: place_of[int(label)] for label in distinct}
        else:
            classes = tuple(sorted(distinct))
            table = {label: i for i, label in enumerate(classes)}
    else:
        by_name = {name: i for i, name in enumerate(classes)}
        named = all(label in by_name for label in distinct) or not numeric
        table = by_name if named else {label: int(label) for label in distinct}
        for label in distinct:
            if named and label not in table:
                place = where(written.index(label))
                raise UserError(
                    f"{place}: label {label!r} is not one of the {len(classes)} classes{nearest(label, classes)}"
                )
            if not 0 <= table[label] < len(classes):
                place = where(written.index(label))
                raise UserError(f"{place}: label {label} is out of range: expected 0..{len(classes) - 1}")
    return classes, np.fromiter((table[label] for label in written), np.int64, len(written))
