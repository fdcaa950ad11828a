"""NumPy arrays, in memory or in an `.npz` file."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.samples import ArrayStore, SampleTable, make_samples
from keras_transfer.data.sources._labels import ClassNames, class_names, index_labels
from keras_transfer.errors import UserError, unknown
from keras_transfer.safety.archive import read_npz

KEYS = (
    *("x", "y", "weights", "groups"),
    *(f"{kind}_{split}" for split in ("train", "val", "test") for kind in ("x", "y", "weights", "groups")),
)
# In alphabetical order, so that names made from them are sorted and the arrays are not copied to be sorted.
_PARTS = ("test", "train", "val")


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
    source: str = "arrays",
) -> SampleTable:
    """Use images and labels in memory, or in an `.npz` file that holds arrays of these names.

    Args:
        x: images to be split: uint8 (n, h, w) or (n, h, w, 1 | 3 | 4), values 0..255.
        y: their labels: integers (n,) or (n, 1), names (n,), or one-hot (n, C).
        path: an `.npz` file, which is read without pickle and replaces all arrays.
        x_train: training images; likewise y_train, x_val, y_val, x_test, y_test.
        weights: sample weights (n,) of x, at least 0.
        groups: (n,) groups of x: samples of one group stay in one split.
        weights_train: sample weights of x_train.
        groups_train: groups of x_train.
        classes: class names in label order, or a text file with one per line.
        source: name of the data in summaries and errors.

    Raises:
        UserError: an array is missing or has a wrong dtype, shape or length, a label is out of range, or the file is
            damaged.
    """
    if path is not None:
        arrays, source = _read_npz(path), f"arrays {os.fspath(path)}"
    else:
        arrays = {
            **{"x": x, "y": y, "weights": weights, "groups": groups},
            **{"x_train": x_train, "y_train": y_train, "weights_train": weights_train, "groups_train": groups_train},
            **{"x_val": x_val, "y_val": y_val, "x_test": x_test, "y_test": y_test},
        }
        arrays = {key: value for key, value in arrays.items() if value is not None}
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
    try:
        return ArrayStore(array).array
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _labels(array: Any, what: str) -> np.ndarray:
    """Return labels (n,): integers or strings."""
    labels = np.asarray(array)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise UserError(f"{what}: two-dimensional labels must be one-hot")
        return labels.argmax(axis=1)
    if labels.ndim != 1:
        raise UserError(f"{what}: labels must have the shape (n,), (n, 1) or one-hot (n, classes), not {labels.shape}")
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    if labels.dtype.kind in "US" or (labels.dtype == object and all(isinstance(v, str) for v in labels)):
        return labels.astype(str)
    raise UserError(f"{what}: labels must be integers or class names, received dtype {labels.dtype}")


def _classes(
    labels: list[np.ndarray], classes: tuple[str, ...] | None, parts: list[str], source: str
) -> tuple[tuple[str, ...], np.ndarray]:
    ends = np.cumsum([len(a) for a in labels])

    def where(i: int) -> str:
        part = int(np.searchsorted(ends, i, "right"))
        return f"{source}: y{parts[part]}[{i - (ends[part - 1] if part else 0)}]"

    return index_labels([str(v) for a in labels for v in a.tolist()], classes, where)


def _column(
    kind: str, parts: list[str], arrays: Mapping[str, Any], images: list[np.ndarray], default: Any, source: str
) -> np.ndarray | None:
    if not any(f"{kind}{part}" in arrays for part in parts):
        return None
    columns = []
    for part, array in zip(parts, images):
        column = np.asarray(arrays.get(f"{kind}{part}", np.full(len(array), default)))
        if column.shape != (len(array),):
            raise UserError(f"{source}: {kind}{part} has the shape {column.shape}, expected ({len(array)},)")
        if kind == "weights" and column.dtype.kind not in "biuf":
            raise UserError(f"{source}: {kind}{part} must be numbers, received dtype {column.dtype}")
        columns.append(column.astype(np.float32 if kind == "weights" else str))
    merged = np.concatenate(columns)
    return merged if kind == "weights" else merged.astype(object)
