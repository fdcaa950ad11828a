"""A folder of blocks with a size limit: a file is complete or absent, and the least recently used are removed first.

Several processes may use it. A block is fetched once, under a lock, into a hidden file that is renamed when it is complete. The room that
it will take is reserved before, so that all files together never exceed the limit.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from keras_transfer.data.sharded.blocks import Block
from keras_transfer.errors import Trouble

ABANDONED = 3600.0  # seconds without a write after which a hidden file of another machine is taken to be abandoned
SPARE = 64 << 20  # bytes of the disk that are left free
_LOCKS = 64


class OpenFile:
    """A file descriptor that is closed with its last reference: reading threads need no lock against whoever closes files."""

    __slots__ = ("fd", "touched")

    def __init__(self, path: Path | str):
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self.touched = time.monotonic()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)


class BlockCache:
    """The folder.

    Args:
        folder: created on the first write.
        limit: maximum size of all files in it, in bytes.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, int(limit)

    def open(self, key: str) -> OpenFile | None:
        """Open a block that is there, as the most recently used; None if it is not."""
        path = self.path(key)
        try:
            found = OpenFile(path)
        except FileNotFoundError:
            return None
        self.touch(key)
        return found

    def touch(self, key: str) -> None:
        """Note that a block is in use."""
        with suppress(OSError):
            os.utime(self.path(key))

    def path(self, key: str) -> Path:
        """Return where a block is, or would be."""
        return self.folder / f"{key}.block"

    def fetch(self, block: Block, pinned: Collection[str] = ()) -> OpenFile | None:
        """Return a block, fetched if it is not there; None if there is no room beside the pinned ones.

        Raises:
            DamagedShard, CannotRead: it cannot be had.
            Trouble: the disk is full or read-only.
        """
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "locks" / f"{int(block.key[:8], 16) % _LOCKS:02d}.lock"):
                found = self.open(block.key)
                if found is not None:
                    return found
                part = self._reserve(block, pinned)
                if part is None:
                    return None
                try:
                    with part.open("r+b") as stream:
                        block.write(stream)
                        stream.truncate()
                        stream.flush()
                        os.fsync(stream.fileno())
                    part.replace(self.path(block.key))
                except BaseException:
                    with suppress(OSError):
                        part.unlink()
                    raise
                return self.open(block.key)
        except OSError as error:
            raise Trouble(f"the cache of shards {str(self.folder)!r}: {error.strerror or error}") from error

    def _reserve(self, block: Block, pinned: Collection[str]) -> Path | None:
        """Make room for a block and return a hidden file of its size, which takes no space yet."""
        with FileLock(self.folder / "locks" / "room.lock"):
            self._sweep()
            kept = sorted(self._kept())
            total = sum(size for _, size, _ in kept)
            for _, size, path in kept:
                if total + block.size <= self.limit:
                    break
                if path.suffix == ".block" and path.stem not in pinned:
                    with suppress(OSError):
                        path.unlink()
                        total -= size
            if total + block.size > self.limit:
                return None
            if block.size + SPARE > shutil.disk_usage(self.folder).free:
                raise OSError(f"no room for {block.size >> 20} MiB more; a smaller shard_cache needs less")
            part = self.folder / f".{block.key}.{_host()}.{os.getpid()}.part"
            with part.open("wb") as stream:
                stream.truncate(block.size)
            return part

    def _kept(self) -> Iterator[tuple[float, int, Path]]:
        for pattern in ("*.block", ".*.part"):
            for path in self.folder.glob(pattern):
                with suppress(OSError):  # another process may have removed it
                    found = path.stat()
                    yield found.st_mtime, found.st_size, path

    def _sweep(self) -> None:
        """Remove what processes that are gone have left: at once if they were on this machine."""
        for path in self.folder.glob(".*.part"):
            host, pid = _owner(path.name)
            with suppress(OSError):
                if (host == _host() and not _alive(pid)) or time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def _owner(name: str) -> tuple[str, str]:
    """Return host and process in the name of a hidden file, `.KEY.HOST.PID.part`."""
    parts = [*name.split("."), "", "", "", ""]
    return parts[2], parts[3]


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True
