"""IDX files: the format of MNIST and of the data sets made to replace it (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.manifest import Manifest
from keras_transfer.data.sources import arrays
from keras_transfer.data.sources._labels import ClassNames
from keras_transfer.errors import UserError

FASHION_MNIST = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_MAX_ITEMS = 1 << 33


def load(path: str | os.PathLike[str], classes: ClassNames = None) -> Manifest:
    """Read a folder with the four files of MNIST, plain or gzipped.

    `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]`, and `t10k-…` for the test split.

    Args:
        path: the folder.
        classes: class names in label order, a text file with one a line, or `"fashion-mnist"`; by default the numbers.

    Raises:
        UserError: a file is missing, damaged or not what its header says.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{str(path)!r}: no such folder: expected a folder with IDX files")
    if classes == "fashion-mnist":
        classes = FASHION_MNIST
    parts: dict[str, Any] = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        parts[f"x_{split}"] = read_idx(_find(folder, f"{prefix}-images", 3), 3)
        parts[f"y_{split}"] = read_idx(_find(folder, f"{prefix}-labels", 1), 1)
    return arrays.load(**parts, classes=classes, source=f"idx {folder}")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of one IDX file.

    Args:
        path: the file, gzipped if its name ends in `.gz`.
        dimensions: how many the array must have.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{path}: not an IDX file of {dimensions}-dimensional bytes (it begins with {data[:4].hex()})")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    items = int(np.prod([int(n) for n in shape], dtype=object))
    if items > _MAX_ITEMS or len(data) - start != items:
        raise UserError(f"{path}: cut short or damaged: expected {items} bytes of data, found {len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{str(folder)!r} has no {names[0]} (nor {names[0]}.gz)")
