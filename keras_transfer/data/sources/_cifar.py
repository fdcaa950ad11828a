"""Readers shared by CIFAR-10 and CIFAR-100: folders, archives, the original pickles, Keras's download."""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.archive import unpack
from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import arrays, folder, list_file
from keras_transfer.errors import UserError
from keras_transfer.safety import Refused
from keras_transfer.safety.pickles import check_pickle

MAX_BATCH_BYTES = 1 << 30


class _Dtype:
    """Stand-in for ``numpy.dtype`` that only allows numbers."""

    def __init__(self, name: Any, *_: Any):
        self.name = name.decode("ascii") if isinstance(name, bytes) else str(name)
        if not re.fullmatch(r"[|<>=]?[biuf][1248]", self.name):
            raise pickle.UnpicklingError(f"arrays of {self.name[:40]!r}, expected numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.name = (order if order in ("<", ">", "|") else "|") + self.name.lstrip("|<>=")


class _Array:
    """Stand-in for ``numpy.ndarray`` that holds its bytes and makes the array when asked to."""

    def __init__(self, *arguments: Any):
        if arguments:
            raise pickle.UnpicklingError("an array that is not made of numbers in the file")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def array(self) -> np.ndarray:
        flat = np.frombuffer(self.content, self.dtype.name)  # raises if the size does not fit
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r}")
    return text.encode("latin1")


# Names in a pickle of arrays by Python 2 or 3; anything else could run code. NumPy's own functions are not called,
# since they allocate an array of any shape before reading its numbers.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise Refused(self.path, f"its pickle asks for {module}.{name}, which data does not need")
        return _ALLOWED[module, name]

    def __init__(self, content: bytes, path: Path):
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.path = path


def read_batch(path: Path, label_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read one of the original batch files: images uint8 (n, 32, 32, 3) and labels int64 (n,).

    Only arrays, numbers, strings, lists and dictionaries are unpickled.

    Raises:
        Refused: the file asks for anything else.
        UserError: the file is damaged.
    """
    content = _unpickle(path)
    try:
        data, labels = _plain(content[b"data"]), _plain(content[label_key])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072 or labels.shape != (len(data),):
            raise UserError(f"{path}: expected uint8 data (n, 3072) and n labels, received {data.dtype} {data.shape}")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a CIFAR batch file: {error!r}") from None


def read_pickles(
    root: Path, train: Sequence[str], test: str, label_key: bytes, classes: Sequence[str], source: str
) -> SampleTable:
    """Read the original batch files in `root`."""
    parts = [read_batch(root / name, label_key) for name in train]
    x_test, y_test = read_batch(root / test, label_key)
    x_train, y_train = (np.concatenate(part) for part in zip(*parts))
    return arrays.load(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=classes, source=source)


def load_local(
    path: str | os.PathLike[str],
    marker: str,
    classes: Sequence[str],
    pickles: Callable[[Path], SampleTable],
    source: str,
) -> SampleTable:
    """Read a folder or archive of either layout.

    Args:
        path: a folder, or a tar archive, which is unpacked to the cache first.
        marker: a file that only the original layout has, e.g. `data_batch_1`.
        classes: class names in label order; a `classes.txt` beside the lists overrides them.
        pickles: reads the folder that holds `marker`.
        source: name of the data in summaries and errors.
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
            samples = list_file.load(
                train=candidate / "train.txt",
                test=test if test.is_file() else None,
                classes=names if names.is_file() else classes,
            )
            return replace(samples, source=source)
        if (candidate / "train").is_dir():
            return replace(folder.load(candidate), source=source)
    raise UserError(f"{str(path)!r}: expected {marker}, or train.txt and test.txt, or train/ and test/ folders in it")


def load_keras(name: str, classes: Sequence[str], **options: Any) -> SampleTable:
    """Download with `keras.datasets`; the UserError of a failed download says what to do instead."""
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data(**options)
    except Exception as error:
        raise UserError(
            f"{name} could not be downloaded ({' '.join(str(error).split())[:200]}): fetch "
            f"https://www.cs.toronto.edu/~kriz/{name.replace('cifar', 'cifar-')}-python.tar.gz on a machine with a "
            f"network and set data.path to it, or use a data source that needs no download (digits, folder)"
        ) from error
    return arrays.load(
        x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=classes, source=f"keras.datasets {name}"
    )


def _plain(value: Any) -> np.ndarray:
    return value.array() if isinstance(value, _Array) else np.asarray(value)


def _unpickle(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BATCH_BYTES:
            raise Refused(path, f"more than {MAX_BATCH_BYTES >> 20} MiB, expected a batch of CIFAR")
        content = path.read_bytes()
        check_pickle(content, path)
        return _ArrayUnpickler(content, path).load()
    except UserError:
        raise
    except Exception as error:
        # A damaged pickle can raise nearly anything.
        raise UserError(f"cannot read {str(path)!r}: {str(error) or type(error).__name__}") from None
