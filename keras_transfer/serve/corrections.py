"""Save corrected images as a data source for the next training."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from keras_transfer.data.sources.list_file import class_names, index_labels, list_lines, name_lines, read_list
from keras_transfer.errors import UserError, unknown
from keras_transfer.files import atomic_write, write_text
from keras_transfer.serve.images import suffix_of


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
        self.classes = tuple(classes)
        self._lock = threading.Lock()
        if self.names.is_file() and class_names(self.names) != class_names(self.classes):
            raise UserError(
                f"{self.folder} has corrections for a model with other classes; choose another folder with --corrections"
            )

    def save(self, data: bytes, label: str, suffix: str | None = None) -> Path:
        """Save an image with its correct label; return the path of the image.

        Args:
            data: content of a valid image file.
            label: class name.
            suffix: of the file name; None: read from the image.

        Raises:
            UserError: no such class, or the folder cannot be written.
        """
        if label not in self.classes:
            raise unknown("class", label, self.classes)
        name = f"images/{hashlib.sha256(data).hexdigest()[:24]}{suffix or suffix_of(data)}"
        with self._lock:
            labels = self._read()
            labels[name] = label
            with atomic_write(self.folder / name) as stream:
                stream.write(data)
            write_text(self.names, name_lines(self.classes))
            write_text(self.list, list_lines(labels.items()))
        return self.folder / name

    def _read(self) -> dict[str, str]:
        if not self.list.is_file():
            return {}
        paths, labels, _ = read_list(self.list)
        _, places = index_labels(
            labels, self.classes, lambda i: f"{self.list}: image {i + 1}"
        )  # version 0.1 wrote some as places
        return {path: self.classes[place] for path, place in zip(paths, places)}
