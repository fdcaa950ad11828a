"""Arrays cached on disk by key: a file is complete or absent, and the least recently used are removed first.

A file ``KEY.npy`` was written under a temporary name, synced and renamed. If two runs compute the same features at once, the
later rename wins, with the same content. Nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write

ABANDONED = 3600.0  # seconds without a write after which a temporary file is taken to be abandoned
SPARE = 64 * 1024**2  # bytes of the disk that are left free


class CannotStore(Exception):
    """The features cannot be kept; the message says why."""


class FeatureStore:
    """A folder of arrays.

    Args:
        folder: created on the first write.
        limit: maximum size of all arrays together, in bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, int(limit)
        self._in_use: set[Path] = set()

    def find(self, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray | None:
        """Return the array stored under ``key``, memory-mapped and read-only, or ``None``.

        A file that is damaged or has another shape or dtype is removed.
        """
        path = self._path(key)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):
            array = None
        if array is None or array.shape != shape or array.dtype != dtype:
            del array
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # the time of the last use
        self._in_use.add(path)
        return array

    @contextmanager
    def writer(self, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[ArrayWriter]:
        """Open an array for writing; :meth:`find` returns it once the block has ended without an error.

        Raises:
            CannotStore: it exceeds the limit or the free space of the disk, or cannot be written.
        """
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        try:
            self._make_room(size)
            with atomic_write(self._path(key)) as stream:
                writer = ArrayWriter(stream, shape, dtype)
                yield writer
                writer.check_complete()
        except OSError as error:
            raise CannotStore(error.strerror or str(error)) from error
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                raise CannotStore(error.__cause__.strerror or str(error)) from error
            raise
        self._in_use.add(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _make_room(self, size: int) -> None:
        """Remove abandoned temporary files, and the least recently used arrays until ``size`` bytes fit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        if size > self.limit:
            raise CannotStore(f"{gib(size)} are more than the limit of {gib(self.limit)}")
        kept = sorted(self._kept())
        total = sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in kept:
            if total + size <= self.limit:
                break
            if path not in self._in_use:
                with suppress(OSError):
                    path.unlink()
                    total -= bytes_
        if total + size > self.limit:
            raise CannotStore(f"{gib(total + size)} are more than the limit of {gib(self.limit)}")
        if size + SPARE > shutil.disk_usage(self.folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _kept(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.glob("*.npy"):
            with suppress(OSError):  # another run may have removed it
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    def _sweep(self) -> None:
        for path in self.folder.glob(".*.part"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


class ArrayWriter:
    """Rows of an ``.npy`` file, in any order. Writes, since a full disk kills a process that uses a memory map (SIGBUS)."""

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.stream, self.shape, self.dtype = stream, shape, dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        self._start, self._rows = stream.tell(), 0
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize

    def write(self, start: int, rows: np.ndarray) -> None:
        """Write ``rows`` at rows ``start`` and following."""
        self.stream.seek(self._start + start * self._row_bytes)
        self.stream.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self._rows += len(rows)

    def check_complete(self) -> None:
        """Raise ``ValueError`` unless all rows were written."""
        if self._rows != self.shape[0]:
            raise ValueError(f"{self._rows} of {self.shape[0]} rows were written")


def gib(size: float) -> str:
    """Return a number of bytes as text, such as ``1.50 GiB``."""
    return f"{size / 1024**3:.2f} GiB"
