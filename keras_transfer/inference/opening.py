"""Open whatever data somebody gives a classifier, in the classifier's input size and class order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.evaluation.tasks import is_multi


def training_data(
    metadata: Mapping[str, Any], data: Any, y: Any, validation: Any, val_fraction: float, seed: int
) -> Dataset:
    """Return the data set to train on.

    Args:
        metadata: of the classifier.
        data: a data set, which is returned as it is; or what :func:`keras_transfer.data.open` takes.
        y: labels, where ``data`` holds images only.
        validation: data for validation, or None.
        val_fraction: share for validation, where neither has any.
        seed: of the split.

    Raises:
        UserError: data of another kind, classes that the classifier does not have.
    """
    from keras_transfer.data.objects import open_any

    if isinstance(data, Dataset) and validation is None:
        if y is not None:
            raise UserError("y is given, but the data set has labels of its own")
        return data
    options: dict[str, Any] = {
        "classes": metadata["classes"],
        "val_fraction": val_fraction,
        "seed": seed,
        **_form(metadata),
    }
    if validation is None:
        return open_any(data, y, **options)
    part = data.train if isinstance(data, Dataset) else data
    parts = {"train": part if y is None else (part, y), "val": validation}
    return open_any(parts, **options, test_fraction=0.0)


def evaluation_split(metadata: Mapping[str, Any], data: Any, y: Any = None) -> Split:
    """Return the images to measure a classifier on: those of ``data``'s test split, if it has splits, else all.

    Args:
        metadata: of the classifier.
        data: a split or a data set, or what :func:`keras_transfer.data.open` takes.
        y: labels, where ``data`` holds images only.

    Raises:
        UserError: data of another kind, without test images, or with classes that the classifier does not have.
    """
    from keras_transfer.data.builder import build
    from keras_transfer.data.objects import samples_of
    from keras_transfer.inference.data import images_of

    if isinstance(data, Split):
        return data
    if isinstance(data, (str, os.PathLike)):
        return images_of(None, "", dict(metadata), os.fspath(data), "test")
    if not isinstance(data, Dataset):
        data = build(
            samples_of(data, y, metadata["classes"]), evaluation=True, depth=metadata.get("depth"), **_form(metadata)
        )
        data = data.as_task(is_multi(metadata))
        if not (data.samples.split != "").any():
            return data.all
    data = data.as_task(is_multi(metadata))
    if not len(data.test):
        raise UserError(f"{data!r} has no test images; name a split: data.val, data.train or data.all")
    return data.test


def _form(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_size": tuple(metadata["image_size"]), "color": metadata["color"], "resize": metadata["resize"]}
