"""Labels as people hold them: numbers, names, one-hot rows, in lists or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transfer.data.objects.pixels import host_array, is_tensor
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

    Names are matched by name. Numbers are places in the names that the object has itself, else in the wanted ones, else the
    distinct numbers are the classes, in order.

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
    known = own or wanted
    if labels and isinstance(labels[0], str):
        written = [str(label) for label in labels]
    elif known is not None:
        places = [int(label) for label in labels]
        bad = next((i for i, place in enumerate(places) if not 0 <= place < len(known)), None)
        if bad is not None:
            raise UserError(f"{what}: label {places[bad]} of image {bad} is out of range: expected 0..{len(known) - 1}")
        written = [known[place] for place in places]
    else:
        written = [str(label) for label in labels]
        known = tuple(sorted(set(written), key=lambda number: int(number)))
    classes = wanted or known or tuple(sorted(set(written)))
    place = {name: i for i, name in enumerate(classes)}
    for label in written:
        if label not in place:
            shown = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise UserError(
                f"{what}: the class {label!r} is not one of the expected{nearest(label, classes)} ({shown})"
            )
    return classes, np.array([place[label] for label in written], np.int64)


def _plain(label: Any, what: str) -> int | str:
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, str):
        return str(label)
    array = host_array(label) if is_tensor(label) else np.asarray(label)
    if array.dtype.kind in "SU" and array.size == 1:
        return _plain(array.reshape(-1)[0].item(), what)
    if array.dtype == object and array.size == 1:
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
    if value != int(value):
        raise UserError(f"{what}: expected a whole number, received {value}")
    return int(value)
