"""Image paths from text files: existence, duplicates and line numbers, fast enough for millions of lines."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import normal
from keras_transfer.errors import UserError
from keras_transfer.text import one_line


class Lines:
    """The file and line that each record comes from."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._ends: list[int] = []
        self.numbers: list[int] = []

    def add(self, path: str | os.PathLike[str], numbers: Sequence[int]) -> None:
        """Append the records of a file, given their line numbers."""
        self._files.append(os.fspath(path))
        self.numbers.extend(numbers)
        self._ends.append(len(self.numbers))

    def __call__(self, i: int) -> str:
        """Return "file:line" of record i."""
        return f"{self._files[int(np.searchsorted(self._ends, i, 'right'))]}:{self.numbers[i]}"


def relative_names(paths: Sequence[str], root: Path) -> list[str]:
    """Turn paths into unique names: relative to `root` if below it, without `.` and `..`."""
    prefix = os.path.abspath(root).rstrip("/") + "/"  # noqa: PTH100 - does not resolve links
    names = []
    for path in paths:
        if os.sep != "/":
            path = path.replace(os.sep, "/")
        if "./" in path or "//" in path:
            path = posixpath.normpath(path)
        if path.startswith(prefix):
            path = path[len(prefix) :]
        names.append(path)
    return names


def check_existence(names: Sequence[str], root: Path, where: Lines) -> list[str]:
    """Return the names as the files are called; lists each folder once instead of testing each file.

    A name in another Unicode form than the file's (as lists from other systems have them) counts as the file's.

    Raises:
        UserError: names that do not exist; the first ones are listed.
    """
    found = list(names)
    folders: dict[str, _Folder] = {}
    missing = []
    last: str | None = None
    for i, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        if folder != last:
            last = folder
            if folder not in folders:
                folders[folder] = _Folder(folder, root, "/" if not folder and name[:1] == "/" else folder or ".")
            here = folders[folder]
        if base in here.entries and here.name == folder:
            continue
        written = here.file(base)
        if written is not None:
            found[i] = f"{here.name}/{written}" if here.name else written
            continue
        missing.append(i)
        if len(missing) > 20:
            break
    if missing:
        shown = "\n".join(f"  {where(i)}: {one_line(names[i][:500])}" for i in missing[1:20])
        more = f"\nalso missing:\n{shown}" + ("\n  …" if len(missing) > 20 else "") if shown else ""
        raise UserError(
            f"{where(missing[0])}: no such file: {names[missing[0]][:500]!r} (looked in {str(root)!r}){more}"
        )
    return found


class _Folder:
    """A folder of a list, and the files in it by their names in composed form."""

    def __init__(self, name: str, root: Path, path: str):
        self.name = name
        self.entries = _listing(root / path)
        if not self.entries and not name.isascii():
            self.name = _written(name, root)
            self.entries = _listing(root / self.name)
        self._forms: dict[str, str] | None = None

    def file(self, base: str) -> str | None:
        """Return the name of the file that is `base` in any Unicode form, if there is one."""
        if base in self.entries:
            return base
        if self._forms is None:
            self._forms = {normal(entry): entry for entry in self.entries if not entry.isascii()}
        return self._forms.get(normal(base))


def _written(folder: str, root: Path) -> str:
    """Return a folder as it is written on disk, where that is another Unicode form."""
    found = ""
    for part in folder.split("/"):
        names = _listing(root / found) if found else _listing(root)
        actual = part if part in names else next((name for name in names if normal(name) == normal(part)), part)
        found = f"{found}/{actual}" if found else actual
    return found


def _listing(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names are wanted, not paths
    except (OSError, ValueError):  # ValueError: NUL in the name
        return frozenset()


def drop_repeats(
    names: Sequence[str],
    labels: np.ndarray,
    split: np.ndarray,
    where: Lines,
    more: Mapping[str, np.ndarray | None] | None = None,
) -> tuple[np.ndarray | None, int]:
    """Find duplicate names.

    Args:
        names, labels, split: of the records.
        where: the place of a record, for errors.
        more: further columns by their names.

    Returns:
        Indices of the records to keep (None: all), and the number of duplicates, which have the same values.

    Raises:
        UserError: the same image with two labels or other values, or in two splits.
    """
    others = {what: column for what, column in (more or {}).items() if column is not None}
    if len(set(names)) == len(names):
        return None, 0
    first: dict[str, int] = {}
    keep = []
    for i, name in enumerate(names):
        j = first.setdefault(name, i)
        if j == i:
            keep.append(i)
        elif not np.array_equal(labels[i], labels[j]):
            raise UserError(f"{where(i)}: {name!r} has another label than at {where(j)}")
        elif split[i] != split[j]:
            raise UserError(f"{where(i)}: {name!r} is in the split {split[i]!r}, but in {split[j]!r} at {where(j)}")
        for what, column in others.items():
            if column[i] != column[j]:
                raise UserError(f"{where(i)}: {name!r} has another {what} than at {where(j)}")
    return np.array(keep, np.int64), len(names) - len(keep)
