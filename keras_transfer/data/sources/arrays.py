"""NumPy arrays, in memory or in an `.npz` file."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.images.given import as_array
from keras_transfer.data.samples import ArrayStore, SampleTable, make_samples
from keras_transfer.data.sources._labels import ClassNames, class_names, index_labels
from keras_transfer.errors import UserError, unknown
from keras_transfer.safety.archive import read_npz
from keras_transfer.stratify import is_multi

KEYS = (
    *("x", "y", "weights", "groups"),
    *(f"{kind}_{split}" for split in ("train", "val", "test") for kind in ("x", "y", "weights", "groups")),
)
# In alphabetical order, so that the image names are sorted and the arrays need no second copy.
_PARTS = ("test", "train", "val")


# Many parameters because the arrays go by the names that users give them, here and in `.npz` files.
def load(
    x: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str] | None = None,
    x_train: Any = None,
    y_train: Any = None,
    x_val: Any = None,
    y_val: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    weights: Any = None,
    groups: Any = None,
    weights_train: Any = None,
    groups_train: Any = None,
    classes: ClassNames = None,
) -> SampleTable:
    """Use images and labels in memory, or in an `.npz` file that holds arrays of these names.

    Args:
        x: all images, unsplit: uint8 (n, h, w) or (n, h, w, 1 | 3 | 4), values 0..255.
        y: their labels: integers (n,) or (n, 1), names (n,), or 0 and 1 (n, C): one-hot, or several labels for an image, or none.
        path: an `.npz` file, read without pickle, that replaces all arrays.
        x_train: training images; likewise y_train, x_val, y_val, x_test, y_test.
        weights: sample weights (n,) of x, at least 0.
        groups: groups (n,) of x: samples of a group stay in one split.
        weights_train: sample weights of x_train.
        groups_train: groups of x_train.
        classes: class names in label order, or a text file with one per line.

    Raises:
        UserError: missing arrays, wrong dtype or shape, different lengths, labels out of range, a damaged file.
    """
    if path is not None:
        return build(_read_npz(path), classes, f"arrays {os.fspath(path)}")
    given = {"x": x, "y": y, "weights": weights, "groups": groups, "x_train": x_train, "y_train": y_train}
    given |= {"weights_train": weights_train, "groups_train": groups_train}
    given |= {"x_val": x_val, "y_val": y_val, "x_test": x_test, "y_test": y_test}
    return build({key: value for key, value in given.items() if value is not None}, classes, "arrays")


def build(arrays: Mapping[str, Any], classes: ClassNames, source: str) -> SampleTable:
    """Build the samples from arrays by their names in `KEYS`; see `load`.

    `source` is the name of the data in summaries and errors.
    """
    parts = _parts(arrays, source)
    images = [_images(arrays[f"x{p}"], f"{source}: x{p}") for p in parts]
    labels = [_labels(arrays[f"y{p}"], f"{source}: y{p}") for p in parts]
    for part, x_part, y_part in zip(parts, images, labels):
        if len(x_part) != len(y_part):
            raise UserError(f"{source}: x{part} has {len(x_part)} images, but y{part} has {len(y_part)} labels")
    if len({a.shape[1:] for a in images}) > 1:
        raise UserError(
            f"{source}: image shapes differ: " + ", ".join(f"x{p} {a.shape}" for p, a in zip(parts, images))
        )
    split = np.concatenate([np.full(len(a), p.lstrip("_"), object) for p, a in zip(parts, images)])
    names = [f"{p.lstrip('_')}/{i:08d}".lstrip("/") for p, a in zip(parts, images) for i in range(len(a))]
    known, indices = _classes(labels, class_names(classes), parts, source)
    return make_samples(
        known,
        ArrayStore(images[0] if len(images) == 1 else np.concatenate(images), names),
        indices,
        split,
        _column("weights", parts, arrays, images, 1.0, source),
        _column("groups", parts, arrays, images, "", source),
        source,
    )


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with Path(path).open("rb") as stream:
            is_npy = stream.read(6) == b"\x93NUMPY"
        if is_npy:
            raise UserError(f"{path}: expected an .npz file with x, y or x_train, y_train, x_test, y_test")
        with zipfile.ZipFile(path) as archive:
            for key in (name.removesuffix(".npy") for name in archive.namelist()):
                if key not in KEYS:
                    raise UserError(f"{path}: {unknown('array', key, KEYS)}")
        return read_npz(path, path, KEYS)
    except OSError as error:
        raise UserError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise UserError(f"{path}: not a readable .npz file of plain arrays: {error}") from None


def _parts(arrays: Mapping[str, Any], source: str) -> list[str]:
    """Return the suffixes of the given arrays: [""] or e.g. ["_test", "_train"]."""
    parts = [""] if "x" in arrays or "y" in arrays else []
    parts += [f"_{s}" for s in _PARTS if f"x_{s}" in arrays or f"y_{s}" in arrays]
    if parts != [""] and ("" in parts or "_train" not in parts):
        raise UserError(
            f"{source}: expected x and y, or x_train and y_train (and x_test, y_test …), "
            f"received {', '.join(arrays) or 'nothing'}"
        )
    for part in parts:
        for kind in "xy":
            if f"{kind}{part}" not in arrays:
                raise UserError(f"{source}: {kind}{part} is missing")
    return parts


def _images(array: Any, what: str) -> np.ndarray:
    _refuse_mask(array, what)
    try:
        return ArrayStore(as_array(array, what)).array
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _labels(array: Any, what: str) -> np.ndarray:
    """Return labels (n,), integers or strings; or uint8 (n, C), 0 or 1, if an image has several of them or none."""
    if isinstance(array, (set, frozenset, Mapping)):
        raise UserError(f"{what}: expected labels in the order of the images, received a {type(array).__name__}")
    _refuse_mask(array, what)
    labels: np.ndarray = as_array(array, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        if not ((labels == 0) | (labels == 1)).all():
            raise UserError(f"{what}: two-dimensional labels must be 0 or 1: one-hot, or several labels for an image")
        return labels.astype(np.uint8)
    if labels.ndim != 1:
        raise UserError(f"{what}: labels must have the shape (n,), (n, 1) or (n, classes), not {labels.shape}")
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    if labels.dtype.kind in "US" or (labels.dtype == object and all(isinstance(v, str) for v in labels)):
        return labels.astype(str)
    odd = next((f", {v!r} at place {i}" for i, v in enumerate(labels.tolist()) if not isinstance(v, (str, int))), "")
    raise UserError(f"{what}: labels must be integers or class names, received dtype {labels.dtype}{odd[:100]}")


def _refuse_mask(array: Any, what: str) -> None:
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
        raise UserError(f"{what}: has masked values, which would be read as they are: leave these images out")


def _classes(
    labels: list[np.ndarray], classes: tuple[str, ...] | None, parts: list[str], source: str
) -> tuple[tuple[str, ...], np.ndarray]:
    ends = np.cumsum([len(a) for a in labels])

    def where(i: int) -> str:
        part = int(np.searchsorted(ends, i, "right"))
        return f"{source}: y{parts[part]}[{i - (ends[part - 1] if part else 0)}]"

    if any(map(is_multi, labels)):
        return _several(labels, classes, parts, source)
    kinds = {a.dtype.kind in "iu" for a in labels}
    if len(kinds) > 1:
        raise UserError(
            f"{source}: labels are numbers in some of {', '.join(f'y{p}' for p in parts)} and names in others"
        )
    if classes is not None and kinds == {True}:
        odd = next((name for i, name in enumerate(classes) if name.lstrip("+-").isdecimal() and name != str(i)), None)
        if odd is not None:
            raise UserError(
                f"{source}: labels that are numbers, and the class name {odd!r}, which is one too: give names as text (np.array(classes)[y])"
            )
        written = [v for a in labels for v in a.tolist()]
        wrong = next((i for i, v in enumerate(written) if not 0 <= v < len(classes)), None)
        if wrong is not None:
            raise UserError(f"{where(wrong)}: label {written[wrong]} is out of range: expected 0..{len(classes) - 1}")
        return classes, np.array(written, np.int64)
    return index_labels([str(v) for a in labels for v in a.tolist()], classes, where)


def _several(
    labels: list[np.ndarray], classes: tuple[str, ...] | None, parts: list[str], source: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names, and labels of 0 and 1; class numbers where all are one-hot."""
    shapes = {a.shape[1:] for a in labels}
    if len(shapes) > 1:
        listed = ", ".join(f"y{part} {a.shape}" for part, a in zip(parts, labels))
        raise UserError(f"{source}: the labels of all parts must have as many columns, received {listed}")
    table = np.concatenate(labels)
    if (table.sum(axis=1) == 1).all():
        return _classes([a.argmax(axis=1) for a in labels], classes, parts, source)
    names = classes or tuple(map(str, range(table.shape[1])))
    if len(names) != table.shape[1]:
        raise UserError(f"{source}: {len(names)} class names, but labels with {table.shape[1]} columns")
    return names, table


def _column(
    kind: str, parts: list[str], arrays: Mapping[str, Any], images: list[np.ndarray], default: Any, source: str
) -> np.ndarray | None:
    if not any(f"{kind}{part}" in arrays for part in parts):
        return None
    columns = []
    for part, array in zip(parts, images):
        given = arrays.get(f"{kind}{part}", np.full(len(array), default))
        _refuse_mask(given, f"{source}: {kind}{part}")
        column = as_array(given, f"{source}: {kind}{part}")
        if column.shape != (len(array),):
            raise UserError(f"{source}: {kind}{part} has the shape {column.shape}, expected ({len(array)},)")
        if kind == "weights" and column.dtype.kind not in "biuf":
            raise UserError(f"{source}: {kind}{part} must be numbers, received dtype {column.dtype}")
        if kind == "groups":
            column = np.array(["" if v is None or v != v else str(v) for v in column.tolist()], object)  # noqa: PLR0124
        columns.append(column.astype(np.float32 if kind == "weights" else object))
    return np.concatenate(columns)
