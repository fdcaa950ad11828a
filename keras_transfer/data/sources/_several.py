"""Several labels for an image: lists of names, or a column of 0 and 1 for each label.

The data decides: where every image has exactly one label, they are classes that exclude each other, as in any other source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_transfer.arguments.names import normal
from keras_transfer.data.sources._labels import index_labels
from keras_transfer.errors import UserError, nearest

SEPARATOR = ";"
_CELLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def names_in(cell: str) -> list[str]:
    """Return the labels of a field such as `cat;dog`: without spaces around them, each once; none if it is empty."""
    return list(dict.fromkeys(name for name in map(str.strip, cell.split(SEPARATOR)) if name))


def from_names(
    lists: Sequence[Sequence[str]], classes: tuple[str, ...] | None, where: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names and labels of lists of names, one for each image.

    Args:
        lists: the labels of each image, as in :func:`~keras_transfer.data.sources._labels.index_labels`; may be empty.
        classes: class names, or None: the labels that occur.
        where: returns the place of image i, for errors.

    Returns:
        Class names; int64 (n,) if every image has one label, else uint8 (n, C), 0 or 1.

    Raises:
        UserError: no image has a label, or a label is not one of the classes.
    """
    owners = np.repeat(np.arange(len(lists)), [len(names) for names in lists])
    if not len(owners):
        raise UserError(f"{where(0)}: no image has a label")
    known, places = index_labels([name for names in lists for name in names], classes, lambda i: where(int(owners[i])))
    if all(len(names) == 1 for names in lists):
        return known, places
    labels = np.zeros((len(lists), len(known)), np.uint8)
    labels[owners, places] = 1
    return known, labels


def from_table(
    table: np.ndarray, names: Sequence[str], classes: tuple[str, ...] | None, what: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names and labels of a table of 0 and 1; see :func:`from_names`.

    Args:
        table: 0 or 1, (n, C).
        names: of its columns.
        classes: class names in the order that is asked for, or None: that of the columns.
        what: name of the data in errors.

    Raises:
        UserError: columns and classes are not the same.
    """
    known = tuple(names)
    if classes is not None:
        place = {normal(name): i for i, name in enumerate(known)}
        missing = next((name for name in classes if normal(name) not in place), None)
        if missing is not None:
            raise UserError(f"{what}: there is no column for the label {missing!r}{nearest(missing, known)}")
        if len(known) > len(classes):
            odd = next(name for name in known if normal(name) not in set(map(normal, classes)))
            raise UserError(
                f"{what}: the column {odd!r} is not one of the {len(classes)} labels{nearest(odd, classes)}"
            )
        known, table = classes, table[:, [place[normal(name)] for name in classes]]
    if (table.sum(axis=1) == 1).all():
        return known, table.argmax(axis=1).astype(np.int64)
    return known, table.astype(np.uint8)


def is_cell(text: str) -> bool:
    """Return whether a field says that an image has a label, or that it has not."""
    return text.lower() in _CELLS


def cells(columns: Sequence[Sequence[str]]) -> np.ndarray:
    """Return columns of 0 and 1 as a table, uint8 (n, C)."""
    return np.array([[_CELLS[text.lower()] for text in column] for column in columns], np.uint8).T
