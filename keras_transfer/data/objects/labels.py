"""Labels as people hold them: numbers, names, one-hot rows, in lists or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transfer.arguments.names import normal
from keras_transfer.data.objects.pixels import host_array, is_tensor
from keras_transfer.data.sources._labels import index_labels
from keras_transfer.errors import UserError, nearest


def plain(labels: Sequence[Any], what: str) -> list[int] | list[str]:
    """Return labels as whole numbers, or all as names.

    Raises:
        UserError: a label is neither number, name nor one-hot; or numbers and names are mixed.
    """
    found = [_plain(label, f"{what}: label {i}") for i, label in enumerate(labels)]
    names = [label for label in found if isinstance(label, str)]
    if names and len(names) < len(found):
        odd = next(label for label in found if not isinstance(label, str))
        raise UserError(f"{what}: labels are numbers or names, received {names[0]!r} and {odd}")
    return names or [label for label in found if not isinstance(label, str)]


def indices(
    labels: list[int] | list[str], own: tuple[str, ...] | None, wanted: tuple[str, ...] | None, what: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names, and labels that index them.

    Text is read as in a list of files (:func:`~keras_transfer.data.sources._labels.index_labels`). Numbers are places in the names that
    the object has itself, else in the wanted ones, else the distinct numbers are the classes, in order.

    Args:
        labels: from :func:`plain`.
        own: class names of the object.
        wanted: class names in the order that is asked for.
        what: name of the data in errors.

    Returns:
        The wanted class names, or else the own or the found ones; int64 (n,).

    Raises:
        UserError: a number is out of range, or a name is not among the wanted ones.
    """

    def where(i: int) -> str:
        return f"{what}: image {i}"

    known = own or wanted
    texts = bool(labels) and isinstance(labels[0], str)
    if texts or known is None:
        return index_labels([str(label) for label in labels], wanted or own, where)
    if own is None:
        _refuse_numbers_as_names(known, what)
    places = [int(label) for label in labels]
    bad = next((i for i, place in enumerate(places) if not 0 <= place < len(known)), None)
    if bad is not None:
        raise UserError(f"{what}: label {places[bad]} of image {bad} is out of range: expected 0..{len(known) - 1}")
    if wanted is None or own is None:
        return known, np.array(places, np.int64)
    occurring = set(places)
    table = {normal(name): i for i, name in enumerate(wanted)}
    for i in sorted(occurring):
        if normal(known[i]) not in table:
            raise UserError(
                f"{what}: the class {known[i]!r} is not one of the expected{nearest(known[i], wanted)} ({', '.join(wanted[:20])})"
            )
    return wanted, np.array([table[normal(known[place])] for place in places], np.int64)


def _refuse_numbers_as_names(classes: tuple[str, ...], what: str) -> None:
    """Raise UserError where a number can be a place in the class names, and another class's name."""
    odd = next((name for i, name in enumerate(classes) if name.lstrip("+-").isdecimal() and name != str(i)), None)
    if odd is not None:
        raise UserError(
            f"{what}: labels that are numbers, and the class name {odd!r}, which is one too: give names as text (np.array(classes)[y])"
        )


def _plain(label: Any, what: str) -> int | str:
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, str):
        return str(label)
    array = host_array(label) if is_tensor(label) else np.asarray(label)
    if array.dtype.kind in "SU" and array.size == 1:
        return _plain(array.reshape(-1)[0].item(), what)
    if array.dtype == object and array.size == 1 and array.reshape(-1)[0] is not label:
        return _plain(array.reshape(-1)[0], what)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{what}: expected a number, a class name or a one-hot row, received {str(label)[:60]!r}")
    if array.ndim == 1 and array.size > 1:
        if not (((array == 0) | (array == 1)).all() and array.sum() == 1):
            raise UserError(
                f"{what}: expected one-hot, received {np.array2string(array[:6], precision=3)}: mixtures of classes "
                '(MixUp?) are made by fit(augment=["mixup"])'
            )
        return int(array.argmax())
    if array.size != 1:
        raise UserError(
            f"{what}: expected one number, name or one-hot row for each image, received shape {array.shape}"
        )
    value = array.reshape(-1)[0]
    if not np.isfinite(value) or value != int(value):
        raise UserError(f"{what}: expected a whole number, received {value}")
    return int(value)
