"""IDX files, the format of MNIST and of its drop-in replacements (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import arrays
from keras_transfer.data.sources._labels import ClassNames
from keras_transfer.errors import UserError
from keras_transfer.safety import Refused
from keras_transfer.safety.archive import FREE, MAX_RATIO

FASHION_MNIST = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load(path: str | os.PathLike[str], classes: ClassNames = None) -> SampleTable:
    """Read a folder with the four files of MNIST, plain or gzipped.

    `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]`, and `t10k-…` for the test split.

    Args:
        path: the folder.
        classes: class names in label order, a text file with one per line, or `"fashion-mnist"`; default: the numbers.

    Raises:
        UserError: a file is missing or damaged, or does not match its header.
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
    """Read the uint8 array of one IDX file.

    Args:
        path: the file, gzipped if its name ends in `.gz`.
        dimensions: number of dimensions that the array must have.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    start = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(start)
            if len(head) < start or head[:4] != bytes([0, 0, 8, dimensions]):
                raise UserError(
                    f"{path}: not an IDX file of {dimensions}-dimensional bytes (it begins with {head[:4].hex()})"
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            items = math.prod(shape)
            if items > MAX_RATIO * path.stat().st_size + FREE:
                raise Refused(path, f"claims {items} bytes of data, which the file cannot hold (damaged, or a bomb)")
            data = stream.read(items + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    if len(data) != items:
        raise UserError(f"{path}: cut short or damaged: expected {items} bytes of data, found {len(data)} or more")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{str(folder)!r} has no {names[0]} (nor {names[0]}.gz)")
