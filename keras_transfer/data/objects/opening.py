"""Any object that holds images, as the package's own samples or data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.builder import build, load_source
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.objects.gathering import Items, column
from keras_transfer.data.objects.kinds import read
from keras_transfer.data.objects.labels import indices, plain
from keras_transfer.data.objects.pixels import Pixels, file_of, is_encoded, is_of, is_picture, is_tensor
from keras_transfer.data.objects.several import names_of_several
from keras_transfer.data.objects.store import Joined, ObjectStore
from keras_transfer.data.paths import source_of
from keras_transfer.data.samples import SampleTable, make_samples
from keras_transfer.data.sources._labels import ClassNames, class_names
from keras_transfer.data.sources._split_names import SPLIT_FOLDERS
from keras_transfer.errors import UserError


def open_any(data: Any, y: Any = None, *, classes: ClassNames = None, **common: Any) -> Dataset:
    """Return a data set of whatever holds labelled images; see :func:`keras_transfer.data.open`."""
    if isinstance(data, Dataset):
        _refuse_y(y, data)
        return data
    if isinstance(data, Split):
        raise UserError(
            f"expected a data set, received its {data.name} split; give the data set, which is already divided"
        )
    if isinstance(data, (str, os.PathLike)):
        _refuse_y(y, data)
        options: dict[str, Any] = dict(source_of(os.fspath(data)))
        return build(options.pop("source"), classes=classes, **options, **common)
    return build(samples_of(data, y, classes), **common)


def samples_of(data: Any, y: Any = None, classes: ClassNames = None, what: str = "data") -> SampleTable:
    """Return the labelled images of an object, not yet checked nor split.

    Args:
        data: see `kinds.ACCEPTED`; or a dictionary of these with the keys train, val and test.
        y: the labels, if `data` holds images only.
        classes: class names in label order.
        what: name of the data in errors.

    Raises:
        UserError: an object of another kind, without labels, or with labels that do not fit.
    """
    parts = splits_in(data)
    if parts is not None:
        _refuse_y(y, data)
    found = {
        split: _labelled(part, y, f"{what}[{split!r}]" if split else what)
        for split, part in (parts or {"": data}).items()
    }
    wanted = class_names(classes)
    own = next((items.classes for items in found.values() if items.classes), None)
    several = names_of_several(found.values(), wanted, own, what)
    labels = {} if several else {split: plain(items.labels or (), what) for split, items in found.items()}
    if several:
        known, rows = several
    elif wanted or own:  # each part by its own names: a number is a place in them
        shared = wanted or own
        each = [indices(labels[split], items.classes or own, shared, what) for split, items in found.items()]
        known, rows = each[0][0], np.concatenate([part for _, part in each])
    else:
        joined: Any = [label for part in labels.values() for label in part]
        if len({isinstance(label, str) for label in joined}) > 1:
            raise UserError(f"{what}: some splits have numbers as labels, others names")
        known, rows = indices(joined, None, None, what)
    return make_samples(
        known,
        _store(found, [] if several else [known[row] for row in rows]),
        rows,
        [split for split, items in found.items() for _ in items.images],
        _weights(found),
        source=_title(data),
        notes=list(dict.fromkeys(note for items in found.values() for note in items.notes)),
    )


def _labelled(data: Any, y: Any, what: str) -> Items:
    if isinstance(data, (str, os.PathLike)):
        options: dict[str, Any] = dict(source_of(os.fspath(data)))
        table = load_source(options.pop("source"), options)
        data = Split("all", table, np.arange(len(table)))
    if isinstance(data, Dataset):
        data = data.all
    if isinstance(data, Split):
        _refuse_y(y, data)
        weights = None if data.weights is None else data.weights.tolist()
        items = Items(_Opened(data), data.labels.tolist(), data.classes, weights)
    else:
        items = read(data if y is None else (data, y), what)
    if not len(items.images):
        raise UserError(f"{what}: no images")
    if items.labels is None:
        raise UserError(f"{what}: images without labels; give both: (x, y), or a data set that yields image and label")
    return items


def splits_in(data: Any) -> dict[str, Any] | None:
    """Return the parts of a dictionary by split, or None if it is none."""
    if not isinstance(data, Mapping) or is_encoded(data):
        return None
    parts = {SPLIT_FOLDERS.get(str(key).lower()): part for key, part in data.items()}
    if None in parts or "train" not in parts or len(parts) < len(data):
        raise UserError(
            f"a dictionary of data sets has the keys train, val and test, received {', '.join(map(repr, data))}"
        )
    return {str(split): part for split, part in parts.items()}


def _store(found: Mapping[str, Items], labels: Sequence[str]) -> ObjectStore:
    """Return the images of all parts; their names sort as the files of a folder would, where all are files in class folders."""
    names, start = [], 0
    for split, items in found.items():
        own = _file_names(items.images, labels[start : start + len(items.images)] or None)
        numbers = [f"{i:08d}" for i in range(len(items.images))]
        names += [f"{split}/{name}" if split else name for name in own or numbers]
        start += len(items.images)
    parts = list(found.values())
    images = [_InRange(items.images, items.pixels) for items in parts]
    return ObjectStore(Joined(images) if len(parts) > 1 else images[0], names)


def _file_names(images: Sequence[Any], labels: Sequence[str] | None) -> list[str] | None:
    """Return CLASS/FILE of each image if all are different files in folders named like their classes; None: several labels each."""
    if isinstance(images, _Opened):
        return images.names()
    if labels is None:
        return None
    names = []
    for image, label in zip(images, labels):
        path = image.get("path") if is_encoded(image) else file_of(image) if is_picture(image) else image
        if not isinstance(path, (str, os.PathLike)) or Path(path).parent.name != label:
            return None
        names.append(f"{label}/{Path(path).name}")
    return names if len(set(names)) == len(names) else None


class _Opened(Sequence[Any]):
    """The images of a split, not decoded."""

    def __init__(self, split: Split):
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: Any) -> Any:
        return self._split.samples.images.open(int(self._split.indices[int(index)]))

    def names(self) -> list[str]:
        """Return the names that the images have in their data."""
        return [self._split.image_name(i) for i in range(len(self))]


class _InRange(Sequence[Any]):
    """Images with floating-point pixels brought to uint8 by the range of their own part."""

    def __init__(self, images: Sequence[Any], pixels: Pixels):
        self._images, self._pixels = images, pixels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        image = self._images[int(index)]
        return self._pixels.array(image, str(index)) if is_tensor(image) else image


def _weights(found: Mapping[str, Items]) -> np.ndarray | None:
    if all(items.weights is None for items in found.values()):
        return None
    parts = [items.weights if items.weights is not None else [1.0] * len(items.images) for items in found.values()]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _title(data: Any) -> str:
    kind = type(data)
    package = kind.__module__.split(".")[0]
    named = {"tensorflow": "tf.data.Dataset", "datasets": "Hugging Face Dataset", "torch": f"torch {kind.__name__}"}
    if is_of(data, "keras.PyDataset"):
        return kind.__name__
    return named.get(package, "images in memory" if package in ("builtins", "numpy") else kind.__name__)


def _refuse_y(y: Any, data: Any) -> None:
    if y is not None:
        raise UserError(f"y is given, but {type(data).__name__} has labels of its own")


def images_in(data: Any) -> tuple[ObjectStore, list[str]]:
    """Return the images of an object, for prediction; labels are left out.

    Raises:
        UserError: an object of another kind.
    """
    if (
        isinstance(data, tuple)
        and all(is_tensor(part) for part in data)
        and len({len(part.shape) for part in data}) == 1
    ):
        data = list(data)  # images, rather than images and labels
    if isinstance(data, Dataset):
        data = data.all
    if isinstance(data, Split):
        opened = _Opened(data)
        return ObjectStore(opened, opened.names()), opened.names()
    items = read(data, "images")
    if not items.whole:
        raise UserError(
            f"images: the stream is longer than the {len(items.images):,} images that are kept in memory: give it in parts, or write all "
            "of it with kt.data.write_shards(data, FOLDER) and give kt.data.shards(FOLDER)"
        )
    names = [_name(image, i) for i, image in enumerate(items.images)] if isinstance(items.images, list) else None
    names = names or [str(i) for i in range(len(items.images))]
    return ObjectStore(_InRange(items.images, items.pixels), names), names


def _name(image: Any, number: int) -> str:
    return str(image) if isinstance(image, (str, os.PathLike)) else str(number)


__all__ = ["column", "images_in", "open_any", "samples_of", "splits_in"]
