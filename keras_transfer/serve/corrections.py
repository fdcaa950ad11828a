"""Save corrected images as a data source for the next training."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from keras_transfer.arguments.names import class_name, normal
from keras_transfer.data.sources.list_file import class_names, index_labels, list_lines, name_lines, read_list
from keras_transfer.errors import Trouble, UserError, unknown
from keras_transfer.files import atomic_write, write_text
from keras_transfer.serve.images import suffix_of

MAX_NEW, MAX_NAME = 100, 100
"""How many classes may be added on the page, and how long their names may be: anyone who can reach it can add some."""


class Corrections:
    """A folder with ``list.txt`` (`path label` lines), ``classes.txt`` and ``images/``, for ``data.source: list``.

    An image is identified by its bytes: correcting it again replaces its label. Labels are class names; what a line cannot hold is quoted,
    see :func:`~keras_transfer.data.sources.list_file.read_list`.

    Args:
        folder: where to save them; created with the first correction.
        classes: class names in label order.

    Raises:
        UserError: the folder contains corrections for other classes.
    """

    def __init__(self, folder: str | Path, classes: Sequence[str]):
        self.folder = Path(folder)
        self.list, self.names = self.folder / "list.txt", self.folder / "classes.txt"
        self._given = tuple(classes)
        self._lock = threading.Lock()
        self.classes = self._stored()

    def _stored(self) -> tuple[str, ...]:
        """Return the model's classes and those that were added on the page, of this server or another with the same folder."""
        if not self.names.is_file():
            return self._given
        stored = class_names(self.names) or ()
        if stored[: len(self._given)] != class_names(self._given):
            raise UserError(
                f"{self.folder} has corrections for a model with other classes; choose another folder with --corrections"
            )
        return stored

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and servers from the list."""
        with self._lock:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self.folder / ".lock")
                lock.acquire()
            except OSError as error:
                raise Trouble(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error
            try:
                yield
            finally:
                lock.release()

    def save(self, data: bytes, label: str, suffix: str | None = None, new: bool = False) -> Path:
        """Save an image with its correct label; return the path of the image.

        Args:
            data: content of a valid image file.
            label: class name.
            suffix: of the file name; None: read from the image.
            new: whether the label may be the name of a class that the model does not have; it is then kept in ``classes.txt``.

        Raises:
            UserError: no such class, a name that no class can have, too many new ones, or the folder cannot be written.
        """
        self.classes = self._stored()
        if label not in self.classes:
            if not new:
                raise unknown("class", label, self.classes)
            label = self._new_name(label)
        name = f"images/{hashlib.sha256(data).hexdigest()[:24]}{suffix or suffix_of(data)}"
        with self._alone():
            self.classes = self._stored()
            if label not in self.classes:
                self.classes = (*self.classes, label)
            labels = self._read()
            labels[name] = label
            with atomic_write(self.folder / name) as stream:
                stream.write(data)
            write_text(self.names, name_lines(self.classes))
            write_text(self.list, list_lines(labels.items()))
        return self.folder / name

    def _new_name(self, label: str) -> str:
        try:
            name = normal(class_name(label).strip())
        except ValueError as error:
            raise UserError(str(error)) from None
        if len(name) > MAX_NAME:
            raise UserError(f"a class name of {len(name)} characters: expected at most {MAX_NAME}")
        if name not in self.classes and len(self.classes) - len(self._given) >= MAX_NEW:
            raise UserError(f"there are {MAX_NEW} new classes already; retrain with them first")
        return name

    def _read(self) -> dict[str, str]:
        if not self.list.is_file():
            return {}
        paths, labels, _ = read_list(self.list)
        _, places = index_labels(
            labels, self.classes, lambda i: f"{self.list}: image {i + 1}"
        )  # version 0.1 wrote some as places
        return {path: self.classes[place] for path, place in zip(paths, places)}
