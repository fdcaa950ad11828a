"""Blocks: what is fetched as a whole. A tar file is one; of a Parquet file, each row group is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Protocol

from keras_transfer.data.sharded.places import CannotRead, Place, without_secrets
from keras_transfer.errors import UserError


class DamagedShard(UserError):
    """A shard that is missing, or that is not what its index says.

    Attributes:
        name: of the shard.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(
            f"shard {without_secrets(name)}: {reason}; get it again, or leave its images out with skip_damaged_shards: true"
        )
        self.name, self.reason = name, reason


class Block(Protocol):
    """A part of the data that becomes one local file.

    Attributes:
        name: of the file, as people know it.
        size: bytes of the local file; an estimate where it is only known once it is there.
        key: hex digits that change with the content.
    """

    @property
    def name(self) -> str:
        """Name of the file, as people know it."""

    @property
    def size(self) -> int:
        """Bytes of the local file, or an estimate."""

    @property
    def key(self) -> str:
        """Hex digits that change with the content."""

    def local(self) -> str | None:
        """Return the path of the local file if there is one that needs no copy."""

    def write(self, stream: IO[bytes]) -> None:
        """Write the local file; raises DamagedShard or CannotRead."""

    def range(self, start: int, end: int) -> bytes | None:
        """Return bytes of the local file without making it; None where that is not possible."""


class TarBlock:
    """A tar file.

    Args:
        place: where it is.
        path: its path or address there.
        size: bytes.
        sha256: hex SHA-256 of the file, or an empty string if it is not known.
        version: a text that changes when the file is replaced, where there is no SHA-256.
    """

    def __init__(self, place: Place, path: str, size: int, sha256: str = "", version: str = ""):
        self.place, self.name, self.size, self.sha256 = place, path, size, sha256
        self.key = sha256 or hashlib.sha256(f"{path}\0{size}\0{version}".encode()).hexdigest()

    def local(self) -> str | None:
        """Return the path of a local file."""
        return None if self.place.remote else self.name

    def write(self, stream: IO[bytes]) -> None:
        """Copy a remote file; once more where its SHA-256 is another. Raises DamagedShard or CannotRead."""
        for _ in range(2):
            stream.seek(0)
            digest = hashlib.sha256()
            for piece in self.place.pieces(self.name, self.size):
                digest.update(piece)
                stream.write(piece)
            if not self.sha256 or digest.hexdigest() == self.sha256:
                stream.truncate()
                return
        raise DamagedShard(self.name, "its SHA-256 is not the one in the index")

    def range(self, start: int, end: int) -> bytes | None:
        """Return bytes of a remote file."""
        return self.place.range(self.name, start, end)

    def problem(self, found: tuple[int, str] | CannotRead) -> str:
        """Return what is wrong with the file by its details (`Place.sizes`), or an empty string."""
        if isinstance(found, CannotRead):
            return "it is missing" if "no such file" in str(found).lower() else str(found)
        return "" if found[0] == self.size else f"it has {found[0]} bytes, expected {self.size}"

    def check(self) -> str:
        """Read a local file and return what is wrong with it, or an empty string."""
        digest = hashlib.sha256()
        try:
            with Path(self.name).open("rb", buffering=0) as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL) if hasattr(
                    os, "posix_fadvise"
                ) else None
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        except OSError as error:
            return error.strerror or str(error)
        return "" if digest.hexdigest() == self.sha256 else "its SHA-256 is not the one in the index"
