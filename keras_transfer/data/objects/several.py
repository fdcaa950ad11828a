"""Several labels for an image, as people hold them: lists of names, rows of 0 and 1, texts such as `cat;dog`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from keras_transfer.data.objects.gathering import Items
from keras_transfer.data.objects.pixels import host_array, is_tensor
from keras_transfer.data.sources._several import SEPARATOR, from_names, names_in
from keras_transfer.errors import UserError

_MISSING = (None, "")


def in_lists(labels: list[Any], column: str) -> list[Any]:
    """Return the texts of a table's column `labels` as lists of names, if one of them has several; other columns stay as they are."""
    texts = all(isinstance(label, str) or label in _MISSING for label in labels)
    if column != "labels" or not texts or not any(SEPARATOR in (label or "") for label in labels):
        return labels
    return [names_in(label or "") for label in labels]


def names_of_several(
    parts: Collection[Items], wanted: tuple[str, ...] | None, own: tuple[str, ...] | None, what: str
) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Return class names and labels, uint8 (n, C), or None if every image has one label.

    Args:
        parts: the images; those with several labels have a list, tuple or set of names, or a row of 0 and 1.
        wanted: class names in the order that is asked for.
        own: class names of the object; without any, columns are called 0, 1, 2 …
        what: name of the data in errors.

    Raises:
        UserError: some images have several labels and others a number, or rows of other lengths.
    """
    found = [(items, [_row(label) for label in items.labels or ()]) for items in parts]
    rows = [row for _, each in found for row in each]
    if all(row is None or (len(row) == 1 if isinstance(row, list) else row.sum() == 1) for row in rows):
        return None
    widths = {len(row) for row in rows if isinstance(row, np.ndarray)}
    if len(widths) > 1:
        raise UserError(f"{what}: rows of 0 and 1 must be of one length, received lengths {sorted(widths)[:5]}")
    columns = own or wanted or tuple(map(str, range(max(widths, default=0))))
    if widths and widths != {len(columns)}:
        raise UserError(f"{what}: {len(columns)} class names, but rows of {widths.pop()} numbers as labels")
    lists = [
        _names(label, row, items.classes or columns, f"{what}: image {i}")
        for (items, each), start in zip(found, _starts(found))
        for i, (label, row) in enumerate(zip(items.labels or (), each), start)
    ]
    return from_names(lists, wanted or own or (columns if widths else None), lambda i: f"{what}: image {i}")


def _starts(found: Sequence[tuple[Items, list[Any]]]) -> list[int]:
    return list(accumulate((len(each) for _, each in found), initial=0))[:-1]


def _names(label: Any, row: list[str] | np.ndarray | None, columns: Sequence[str], where: str) -> list[str]:
    if isinstance(row, np.ndarray):
        return [columns[k] for k in np.flatnonzero(row).tolist()]
    if row is not None:
        return row
    if isinstance(label, str):
        return [label]
    raise UserError(
        f"{where}: other images have several labels: expected a list of names or a row of 0 and 1, received {str(label)[:60]!r}"
    )


def _row(label: Any) -> list[str] | np.ndarray | None:
    """Return a list of names or a row of 0 and 1; None for what is one label, or nothing that is known here."""
    if isinstance(label, (str, bytes)):
        return None
    if isinstance(label, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in label):
        return list(dict.fromkeys(sorted(label) if isinstance(label, (set, frozenset)) else label))
    if not (is_tensor(label) or isinstance(label, (list, tuple))):
        return None
    array = host_array(label) if is_tensor(label) else np.asarray(label)
    if array.ndim != 1 or len(array) < 2:
        return None
    if array.dtype.kind in "US" or (array.dtype == object and all(isinstance(name, str) for name in array)):
        return list(dict.fromkeys(map(str, array.tolist())))
    return array if array.dtype.kind in "biuf" and ((array == 0) | (array == 1)).all() else None
