"""Write files atomically: a reader sees the old file or the new one, never a partial one.

Every file that keras_transfer writes goes through this module. It imports neither Keras nor NumPy.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from keras_transfer.errors import Trouble, UserError

__all__ = [
    "add_member",
    "atomic_write",
    "check_clock",
    "check_output",
    "is_trouble",
    "temporary_folder",
    "write_csv",
    "write_json",
    "write_text",
]

_TROUBLE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EFBIG", "EDQUOT", "EROFS", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "EIO", "ENOLCK")
    if hasattr(errno, name)
)


def is_trouble(error: BaseException) -> bool:
    """Return whether an error is the machine's (a full disk, a quota, no permission), not that of the file that was given."""
    known = isinstance(error, OSError) and (error.errno in _TROUBLE or _named(error))
    return known or isinstance(error, MemoryError)


def _named(error: OSError) -> bool:
    """Return whether the text of an error without a number, as HDF5 raises them, names one."""
    found = re.search(r"errno = (\d+)", str(error))
    return found is not None and int(found[1]) in _TROUBLE


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Make a temporary folder, removed at the end of the block.

    Args:
        purpose: what is being done, for the error: ``"cannot PURPOSE: …"``.

    Raises:
        Trouble: there is no room in the system's temporary folder, or no permission. Errors with which the block fails for
            such a reason are explained as well; all others pass.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="keras_transfer_", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        if not (is_trouble(error) or isinstance(error, FileNotFoundError)):
            raise
        place = tempfile.tempdir or os.environ.get("TMPDIR") or "the system's temporary folder"
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise Trouble(
            f"cannot {purpose}: {reason} in {place!s}; make room, or set TMPDIR to a folder that has room"
        ) from error


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file for writing; it replaces `path` when the block ends without an error.

    The temporary file is hidden and in the same folder, since a rename is atomic only within one file system. It is
    synced to disk and then renamed to `path`. If the block raises, it is removed and `path` is unchanged. Missing
    parent folders are created. A symbolic link is followed: its target is replaced and the link stays.

    Args:
        path: the file to write.
        mode: `"wb"` (bytes), or `"w"` (text: UTF-8, newlines unchanged).

    Raises:
        UserError: the file cannot be written (no permission, disk full, `path` is a folder …).
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"atomic_write: mode must be 'wb' or 'w', got {mode!r}")
    target = Path(os.path.realpath(path))
    with _user_errors(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
    # 20 characters of the name: file systems allow 255 bytes.
    aside = target.with_name(f".{target.name[:20]}.{secrets.token_hex(4)}.part")
    try:
        # Closing the file flushes its buffer and may fail as well, so the guard encloses it.
        with _user_errors(path, only=(None, str(aside))), _open(aside, mode) as stream:
            with _user_errors(path), suppress(FileNotFoundError):  # the file is new: the umask decides
                shutil.copymode(target, aside)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with _user_errors(path):
            aside.replace(target)
            _sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def check_output(option: str, path: str | os.PathLike[str] | None, suffix: str = "") -> None:
    """Validate the path of an output file before computing its contents.

    Args:
        option: the command-line option, for the error.
        path: the file to be written, or None.
        suffix: the required suffix, such as ``".png"``.

    Raises:
        UserError: the suffix is another one, or the path is a folder.
    """
    if path is None:
        return
    if not os.fspath(path).lower().endswith(suffix):
        raise UserError(f"{option}: expected a name that ends in {suffix}, got {os.fspath(path)!r}")
    if Path(path).is_dir():
        raise UserError(f"{option}: {os.fspath(path)!r} is a folder; name a file")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path, "w") as stream:
        stream.write(text)


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` as indented UTF-8 JSON, atomically.

    NumPy scalars and arrays, paths, sets (sorted) and tuples are converted. NaN and infinities, which JSON lacks,
    become null.

    Raises:
        UserError: the file cannot be written.
        TypeError: `obj` contains something that cannot be converted.
    """
    write_text(path, json.dumps(_jsonable(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> None:
    """Write a header of `fields` and one line per row as UTF-8 CSV, atomically.

    A missing field or a None is an empty cell.

    Raises:
        UserError: the file cannot be written.
        ValueError: a row has a key that is not in `fields`.
    """
    with atomic_write(path, "w") as stream:
        options: dict[str, Any] = {"restval": "", "extrasaction": "raise", "lineterminator": "\n"}
        writer = csv.DictWriter(stream, list(fields), **options)
        # Python's writer quotes a carriage return only if lines end in one, but its reader takes it for the end of a line.
        quoting = csv.DictWriter(stream, list(fields), quoting=csv.QUOTE_ALL, **options)
        writer.writeheader()
        for row in rows:
            (quoting if any("\r" in str(value) for value in row.values()) else writer).writerow(row)


def check_clock() -> None:
    """Raise Trouble if Keras cannot write model files, because zip archives cannot express this computer's time."""
    year = time.localtime().tm_year
    if not 1980 <= year <= 2107:
        raise Trouble(f"the clock of this computer says {year}, which model files cannot express: set it")


def add_member(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Add a file to a zip archive, dated 1980 whatever the clock says: computers without a battery for it start at 1970."""
    archive.writestr(zipfile.ZipInfo(name), content)


def _open(path: Path, mode: str) -> IO[Any]:
    if mode == "wb":
        return path.open("xb")
    return path.open("x", encoding="utf-8", newline="", errors="backslashreplace")


@contextmanager
def _user_errors(path: str | os.PathLike[str], only: tuple[str | None, ...] | None = None) -> Iterator[None]:
    """Turn operating-system errors into a UserError that names `path`.

    With `only`, errors about other files pass through, and so do errors without an errno, which libraries raise
    rather than the operating system.
    """
    try:
        yield
    except OSError as error:
        if only is not None and (error.errno is None or error.filename not in only):
            raise
        problem = Trouble if is_trouble(error) else UserError
        raise problem(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Sync the rename itself to disk, where the system allows opening a folder (not Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _jsonable(obj: Any) -> Any:
    if isinstance(obj, float):
        return obj if obj - obj == 0 else None  # inf - inf and nan - nan are nan
    if isinstance(obj, Mapping):
        return {str(_jsonable(key)): _jsonable(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [_jsonable(value) for value in obj]
    if isinstance(obj, (set, frozenset)):
        return [_jsonable(value) for value in sorted(obj)]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if hasattr(obj, "tolist"):  # NumPy arrays and scalars, without importing NumPy
        return _jsonable(obj.tolist())
    return obj
