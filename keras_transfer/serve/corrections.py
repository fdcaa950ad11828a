"""Images with their right labels, kept as a list that the next training can read."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from keras_transfer.data.sources.list_file import read_list
from keras_transfer.errors import UserError, unknown
from keras_transfer.files import atomic_write, write_text
from keras_transfer.serve.images import suffix_of


class Corrections:
    """A folder with ``list.txt`` (`path label` lines), ``classes.txt`` and ``images/``, for ``data.source: list``.

    An image is known by its bytes: correcting it again replaces its label. Labels are written as names; as numbers
    where a class name holds a space, which a list cannot have in a label.

    Args:
        folder: where to keep them; it is made with the first correction.
        classes: class names in label order.

    Raises:
        UserError: the folder holds corrections for other classes.
    """

    def __init__(self, folder: str | Path, classes: Sequence[str]):
        self.folder = Path(folder)
        self.list, self.names = self.folder / "list.txt", self.folder / "classes.txt"
        self.classes = tuple(classes)
        self._labels = _written(self.classes)
        self._lock = threading.Lock()
        if self.names.is_file() and self.names.read_text("utf-8").splitlines() != list(self.classes):
            raise UserError(
                f"{self.folder} holds corrections for a model with other classes; name another folder with --corrections"
            )

    def save(self, data: bytes, label: str) -> Path:
        """Keep an image under its right label; return the image's file.

        Args:
            data: an image file that was opened without an error.
            label: class name.

        Raises:
            UserError: there is no such class, or the folder cannot be written.
        """
        if label not in self.classes:
            raise unknown("class", label, self.classes)
        if self._labels is None:
            raise UserError("corrections cannot be kept: some class names hold spaces and others are numbers")
        name = f"images/{hashlib.sha256(data).hexdigest()[:24]}{suffix_of(data)}"
        with self._lock:
            labels = self._read()
            labels[name] = self._labels[self.classes.index(label)]
            with atomic_write(self.folder / name) as stream:
                stream.write(data)
            write_text(self.names, "".join(f"{one}\n" for one in self.classes))
            write_text(self.list, "".join(f"{path} {written}\n" for path, written in labels.items()))
        return self.folder / name

    def _read(self) -> dict[str, str]:
        if not self.list.is_file():
            return {}
        paths, labels, _ = read_list(self.list)
        return dict(zip(paths, labels))


def _written(classes: Sequence[str]) -> list[str] | None:
    """What stands for each class in the list; None where neither names nor numbers would be read as they are meant."""
    if not any(re.search(r"\s", name) for name in classes):
        return list(classes)
    if any(re.fullmatch(r"[+-]?\d+", name) for name in classes):
        return None
    return [str(i) for i in range(len(classes))]
