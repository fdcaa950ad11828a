"""Files here or elsewhere: local paths, and addresses such as ``s3://bucket/photos`` that fsspec reads."""

from __future__ import annotations

import glob
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.files import atomic_write

T = TypeVar("T")
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "hf", "http", "https", "memory")
"""Schemes of addresses that are read."""
_EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs"), "hf": ("huggingface_hub", "hf"),
           "http": ("aiohttp", "remote"), "https": ("aiohttp", "remote"), "az": ("adlfs", "az"), "abfs": ("adlfs", "az")}  # fmt: skip
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)\Z")
MAX_EXPANDED = 1_000_000
ATTEMPTS = 4
FIRST_PAUSE = 0.25  # seconds before the second attempt; each further pause is twice as long
CONNECTIONS = 16


class CannotRead(UserError):
    """A file that is missing, or that its server does not give."""


def is_address(text: str) -> bool:
    """Return whether this is an address such as ``s3://bucket/photos`` rather than a local path."""
    return bool(_ADDRESS.match(text))


def without_secrets(text: object) -> str:
    """Return a message without what addresses in it may carry: users, passwords, and what follows a question mark."""
    cleaned = re.sub(r"(://)[^/\s'\"@]*@", r"\1", str(text))
    return re.sub(r"(://[^\s'\"?]*)\?[^\s'\")]*", r"\1", cleaned)


def check_address(address: str) -> None:
    """Refuse addresses that cannot be read, and those with credentials: they would end up in configurations and reports.

    Raises:
        UserError: another scheme, a user or password, or parameters (a signature).
    """
    shown = without_secrets(address)
    parts = urlsplit(address)
    if parts.scheme.lower() not in SCHEMES or "::" in address:
        raise UserError(
            f"{shown}: expected a path, or an address that starts with {', '.join(f'{s}://' for s in SCHEMES)}"
        )
    if ("@" in parts.netloc and parts.scheme.lower() not in ("hf", "abfs", "az")) or ":" in parts.netloc.rpartition(
        "@"
    )[0]:
        raise UserError(
            f"{shown}: an address may not hold a user or password, which would be stored with results: give credentials as the "
            "storage's own variables and files do (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, ~/.config/fsspec)"
        )
    if parts.query:
        raise UserError(
            f"{shown}: an address may not have parameters after a question mark, which may be a signature or key and would be "
            "stored with results: give credentials as the storage's own variables and files do"
        )


def expand(pattern: str) -> list[str]:
    """Return the paths that braces stand for, as WebDataset writes them: ``{000..019}`` and ``{a,b}``; one path without braces.

    Raises:
        UserError: more than a million.
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    span = _RANGE.match(found[1])
    if span:
        first, last = int(span[1]), int(span[2])
        if not first <= last < first + MAX_EXPANDED:
            raise UserError(f"{pattern}: expected a range such as {{000..019}} of at most {MAX_EXPANDED:,} numbers")
        words: Sequence[str] = [str(k).zfill(len(span[1])) for k in range(first, last + 1)]
    else:
        words = found[1].split(",")
    rest = expand(pattern[found.end() :])
    if len(words) * len(rest) > MAX_EXPANDED:
        raise UserError(f"{pattern}: stands for more than {MAX_EXPANDED:,} files")
    return [pattern[: found.start()] + word + end for word, end in itertools.product(words, rest)]


class Place:
    """A file system: the local one, or that of an address.

    Args:
        address: a path or an address; only its scheme matters.

    Raises:
        UserError: an address that is refused, see :func:`check_address`.
        MissingExtra: fsspec, or what it needs for this scheme, is not installed.
    """

    def __init__(self, address: str):
        self.remote = is_address(address)
        self._address = address
        self._no_ranges = False
        if self.remote:
            check_address(address)
            _ = self._fs

    @cached_property
    def _fs(self) -> Any:
        try:
            import fsspec
        except ImportError:
            raise MissingExtra("fsspec", "remote", f"reading {without_secrets(self._address)}") from None
        scheme = urlsplit(self._address).scheme.lower()
        try:
            # Listings are not kept: a shard that was missing may be there at the next look.
            return fsspec.filesystem(scheme, **({} if scheme == "memory" else {"use_listings_cache": False}))
        except ImportError:
            raise MissingExtra(*_EXTRAS[scheme], f"reading {scheme}:// addresses") from None
        except Exception as error:  # each storage has its own errors, for credentials above all
            raise UserError(f"{scheme}:// cannot be used: {without_secrets(error)}") from None

    def size(self, path: str) -> int:
        """Return the size of a file in bytes; raises CannotRead."""
        return self.details(path)[0]

    def details(self, path: str) -> tuple[int, str]:
        """Return the size of a file, and a text that changes when it is replaced; raises CannotRead."""
        if not self.remote:
            try:
                found = os.stat(path)  # noqa: PTH116 - called for every shard
            except (OSError, ValueError) as error:
                raise CannotRead(f"{path}: {_reason(error)}") from None
            return found.st_size, str(found.st_mtime_ns)
        info = self._tried(path, lambda: self._fs.info(path))
        if info.get("size") is None:
            raise CannotRead(f"{path}: the server does not say how large it is")
        version = next(
            (info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if info.get(key)), ""
        )
        return int(info["size"]), str(version)

    def sizes(self, paths: Sequence[str]) -> list[tuple[int, str] | CannotRead]:
        """Return `details` of many files, asked for at the same time; what cannot be read is its error."""

        def one(path: str) -> tuple[int, str] | CannotRead:
            try:
                return self.details(path)
            except CannotRead as error:
                return error

        if not self.remote or len(paths) == 1:
            return [one(path) for path in paths]
        with ThreadPoolExecutor(min(CONNECTIONS, max(len(paths), 1)), thread_name_prefix="kt-sizes") as pool:
            return list(pool.map(one, paths))

    def read(self, path: str, limit: int = 1 << 32) -> bytes:
        """Return the content of a file; raises CannotRead, also for one of more than `limit` bytes."""
        size = self.size(path)
        if size > limit:
            raise CannotRead(f"{path}: {size} bytes are more than the {limit} that it may have")
        if not self.remote:
            try:
                return Path(path).read_bytes()
            except OSError as error:
                raise CannotRead(f"{path}: {_reason(error)}") from None
        return bytes(self._tried(path, lambda: self._fs.cat_file(path)))

    def pieces(self, path: str, size: int, step: int = 16 << 20) -> Iterator[bytes]:
        """Yield the content of a remote file of this size piece by piece, each asked for until it comes; raises CannotRead."""
        start = 0
        while start < size:
            end = min(start + step, size)
            piece = self._range(path, start, end)
            if len(piece) == size > end - start:  # the server gives whole files only
                self._no_ranges = True
                yield piece[start:]
                return
            if len(piece) != end - start:
                raise CannotRead(
                    f"{path}: {len(piece)} bytes came in place of {end - start}: it is not as large as it was"
                )
            yield piece
            start = end

    def range(self, path: str, start: int, end: int) -> bytes | None:
        """Return a part of a remote file, or None if its server gives whole files only; raises CannotRead."""
        if self._no_ranges or start == end:
            return None if start < end else b""
        piece = self._range(path, start, end)
        if len(piece) > end - start:
            self._no_ranges = True
            return piece[start:end]
        return piece

    def _range(self, path: str, start: int, end: int) -> bytes:
        return bytes(self._tried(path, lambda: self._fs.cat_file(path, start=start, end=end)))

    def find(self, pattern: str) -> list[str]:
        """Return the files that a path with ``*`` stands for, sorted; or the path itself without a ``*``.

        Raises:
            CannotRead: a server that lists nothing.
        """
        if "*" not in pattern and "?" not in pattern:
            return [pattern]
        if not self.remote:
            return sorted(glob.glob(pattern))  # noqa: PTH207 - text in, text out
        found = self._tried(pattern, lambda: self._fs.glob(pattern))
        return sorted(self._fs.unstrip_protocol(path) for path in found)

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading parts of it; raises CannotRead."""
        if not self.remote:
            try:
                return Path(path).open("rb")
            except OSError as error:
                raise CannotRead(f"{path}: {_reason(error)}") from None
        stream: IO[bytes] = self._tried(path, lambda: self._fs.open(path, "rb", cache_type="readahead"))
        return stream

    def exists(self, path: str) -> bool:
        """Return whether there is such a file."""
        try:
            self.size(path)
        except CannotRead:
            return False
        return True

    def put(self, local: Path, path: str) -> None:
        """Copy a local file to a remote path.

        Raises:
            CannotRead: the storage refuses it.
        """
        self._tried(path, lambda: self._fs.put_file(str(local), path))

    def write(self, path: str, content: bytes) -> None:
        """Write a file, atomically where it is local.

        Raises:
            UserError: it cannot be written.
        """
        if self.remote:
            self._tried(path, lambda: self._fs.pipe_file(path, content))
            return
        with atomic_write(path) as stream:
            stream.write(content)

    def _tried(self, path: str, call: Callable[[], T]) -> T:
        """Call, again after a pause where it fails for a reason that may pass."""
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except FileNotFoundError:
                raise CannotRead(f"{without_secrets(path)}: no such file") from None
            except (PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError) as error:
                raise CannotRead(f"{without_secrets(path)}: {_reason(error)}") from None
            except Exception as error:  # each storage has errors of its own
                if attempt == ATTEMPTS - 1 or not may_pass(error):
                    raise CannotRead(f"{without_secrets(path)}: cannot be read: {_reason(error)}") from None
                time.sleep(FIRST_PAUSE * 2**attempt)
        raise AssertionError("unreachable")


def may_pass(error: Exception) -> bool:
    """Return whether a failed request may succeed later: not if the server says that it is wrong (4xx, but 408 and 429)."""
    status = getattr(error, "status", None)
    return not (isinstance(status, int) and 400 <= status < 500 and status not in (408, 429))


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return without_secrets(" ".join(said.split()))[:300]


def join(folder: str, name: str) -> str:
    """Return the path of a file in a folder, local or remote."""
    return f"{folder.rstrip('/')}/{name}"
