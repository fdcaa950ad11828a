"""The file of results: one entry per cell, which several processes may add to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict

from filelock import FileLock, Timeout

from keras_transfer.errors import UserError
from keras_transfer.files import write_json


class Key(NamedTuple):
    """What identifies a cell."""

    set: str
    size: int
    seed: int
    method: str

    def __str__(self) -> str:
        return f"{self.set}, {self.size} images, seed {self.seed}, {self.method}"


class Cell(TypedDict, total=False):
    """A result. A failed cell has only `status`, `error`, `seconds` and `date`; an imported one lacks what is unknown.

    Attributes:
        status: "ok" or "failed".
        error: one line, if it failed.
        accuracy: of the test images, in 0..1.
        log_loss: mean cross-entropy in nats.
        ece: expected calibration error over 15 bins.
        n_train: training images, at most the cell's size.
        n_test: test images.
        correct: "1" or "0" for each test image, in the order of sorted class and file names.
        seconds: wall time of the training, without the prediction of the test images.
        backend: Keras backend.
        versions: of the packages.
        date: YYYY-MM-DD.
        imported: name of the file that it was read from.
    """

    status: str
    error: str
    accuracy: float
    log_loss: float
    ece: float
    n_train: int
    n_test: int
    correct: str
    seconds: float
    backend: str
    versions: Mapping[str, str]
    date: str
    imported: str


class Cells:
    """Cells in a JSON file.

    Args:
        path: the file; it need not exist. Locks are in a hidden folder beside it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._locks = path.with_name(f".{path.name}.locks")

    def read(self) -> dict[Key, Cell]:
        """Return all cells.

        Raises:
            UserError: the file is not one of these.
        """
        if not self.path.exists():
            return {}
        try:
            rows = json.loads(self.path.read_text("utf-8"))["cells"]
            return {Key(*(row.pop(name) for name in Key._fields)): row for row in rows}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{str(self.path)!r}: expected a file that this program has written") from None

    def put(self, key: Key, cell: Cell) -> None:
        """Add or replace a cell; the file is replaced in one step."""
        with self._lock("file", timeout=-1):
            cells = {**self.read(), key: cell}
            write_json(self.path, {"cells": [{**key._asdict(), **cells[key]} for key in sorted(cells)]})

    @contextmanager
    def claim(self, key: Key) -> Iterator[bool]:
        """Keep other processes off a cell; gives False if one of them has it."""
        lock = self._lock("-".join(map(str, key)), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, name: str, timeout: float) -> FileLock:
        self._locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self._locks / name, timeout=timeout)
