"""What CIFAR-10 and CIFAR-100 share: folders, archives, the original pickles, Keras's download."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.archive import unpack
from keras_transfer.data.manifest import Manifest
from keras_transfer.data.sources import arrays, folder, list_file
from keras_transfer.errors import UserError

# What a pickle of arrays made by Python 2 or 3 names; anything else could run code.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data has no need of")
        return super().find_class(module, name)


def read_batch(path: Path, label_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """One of the original batch files: images uint8 (n, 32, 32, 3) and labels int64 (n,).

    Only arrays, numbers, strings, lists and dictionaries are unpickled.

    Raises:
        UserError: the file is damaged, or asks for anything else.
    """
    content = _unpickle(path)
    try:
        data = np.asarray(content[b"data"])
        labels = np.asarray(content[label_key])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072 or labels.shape != (len(data),):
            raise UserError(f"{path}: expected uint8 data (n, 3072) and n labels, received {data.dtype} {data.shape}")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a CIFAR batch file: {error!r}") from None


def read_pickles(
    root: Path, train: Sequence[str], test: str, label_key: bytes, classes: Sequence[str], source: str
) -> Manifest:
    """The manifest of the original batch files in `root`."""
    parts = [read_batch(root / name, label_key) for name in train]
    x_test, y_test = read_batch(root / test, label_key)
    x_train, y_train = (np.concatenate(part) for part in zip(*parts))
    return arrays.load(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=classes, source=source)


def load_local(
    path: str | os.PathLike[str], marker: str, classes: Sequence[str], pickles: Callable[[Path], Manifest], source: str
) -> Manifest:
    """Read a folder or archive of either layout.

    Args:
        path: a folder, or a tar archive that is unpacked to the cache first.
        marker: file that only the original layout has, e.g. `data_batch_1`.
        classes: class names in label order; a `classes.txt` beside the lists takes their place.
        pickles: reads the folder that holds `marker`.
        source: what to call the data.
    """
    root = Path(path)
    if not root.exists():
        raise UserError(f"{str(path)!r}: no such file or folder")
    if root.is_file():
        root = unpack(root)
    folders = [root, *sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))]
    for candidate in folders:
        if (candidate / marker).is_file():
            return pickles(candidate)
        if (candidate / "train.txt").is_file():
            names = candidate / "classes.txt"
            test = candidate / "test.txt"
            manifest = list_file.load(
                train=candidate / "train.txt",
                test=test if test.is_file() else None,
                classes=names if names.is_file() else classes,
            )
            return replace(manifest, source=source)
        if (candidate / "train").is_dir():
            return replace(folder.load(candidate), source=source)
    raise UserError(f"{str(path)!r}: expected {marker}, or train.txt and test.txt, or train/ and test/ folders in it")


def load_keras(name: str, classes: Sequence[str], **options: Any) -> Manifest:
    """Download with `keras.datasets`; a failure says what to do instead."""
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data(**options)
    except Exception as error:
        raise UserError(
            f"{name} could not be downloaded ({' '.join(str(error).split())[:200]}): fetch "
            f"https://www.cs.toronto.edu/~kriz/{name.replace('cifar', 'cifar-')}-python.tar.gz on a machine with a "
            f"network and give its path, or use a data source that needs no download (digits, folder)"
        ) from error
    return arrays.load(
        x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=classes, source=f"keras.datasets {name}"
    )


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            return _ArrayUnpickler(stream, encoding="bytes").load()
    except Exception as error:
        # A damaged pickle raises nearly anything.
        raise UserError(f"cannot read {str(path)!r}: {str(error) or type(error).__name__}") from None
