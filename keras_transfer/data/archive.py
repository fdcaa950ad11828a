"""Safe unpacking of archives, once each."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from keras_transfer.errors import UserError
from keras_transfer.runtime import cache_dir
from keras_transfer.safety import Refused
from keras_transfer.safety.archive import MAX_RATIO

MAX_UNPACKED_BYTES = 64 << 30
MAX_FILES = 20_000_000
MAX_HEADER_BYTES = 1 << 20


def unpack(archive: str | os.PathLike[str]) -> Path:
    """Unpack a zip or tar archive (plain or compressed) to the cache and return the folder.

    The folder is named after the archive's content and appears only when it is complete, so an archive is unpacked
    once, and a concurrent process or a crash does no harm. Members outside the folder, links, special files and
    decompression bombs are refused.

    Raises:
        Refused: the archive is dangerous.
        UserError: the archive is damaged, or there is no space left.
    """
    archive = Path(archive)
    try:
        with archive.open("rb") as stream:
            key = _digest(stream)
        target = cache_dir() / "archives" / key[:32]
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    except OSError as error:
        raise UserError(f"cannot unpack {str(archive)!r}: {error}") from None
    try:
        (_extract_zip if _is_zip(archive) else _extract)(archive, aside)
        aside.chmod(0o755)
        aside.rename(target)
    except OSError as error:
        if not target.is_dir():  # otherwise another process was faster
            raise UserError(f"cannot unpack {str(archive)!r}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive by its name."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"))


_PACKED = ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ\0", lzma))


def _is_zip(archive: Path) -> bool:
    """Say whether an archive is a zip by how it begins: a tar file may end with a zip that it holds."""
    with archive.open("rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return True
    tar = head[257:262] == b"ustar" or head.startswith(tuple(magic for magic, _ in _PACKED))
    return not tar and archive.name.lower().endswith(".zip")  # one that unpacks itself begins with a program


def _extract_zip(archive: Path, folder: Path) -> None:
    limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * archive.stat().st_size + (64 << 20))
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            if len(members) > MAX_FILES or sum(member.file_size for member in members) > limit:
                raise Refused(archive, f"unpacks to more than {limit >> 20} MiB or {MAX_FILES} files (a bomb)")
            # Archives of some Windows programs have no other separator.
            backslashes = not any("/" in member.filename for member in members)
            for member in members:
                _check_member(archive, member)
                name = member.filename.replace("\\", "/") if backslashes else member.filename
                target = folder / name
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.exists():
                    raise UserError(f"{archive}: it holds {name[:200]!r} twice")
                with file.open(member) as packed, target.open("xb") as unpacked:
                    if _copy(packed, unpacked, member.file_size) != member.file_size:
                        raise Refused(archive, f"member {member.filename[:200]!r} is larger than it says")
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive}: not a zip archive that can be read: {error}") from None


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    """Raise Refused for a member outside the folder, a link or a special file."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise Refused(archive, f"member {name[:200]!r} is outside of the folder")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(archive, f"member {name[:200]!r} is a link or a special file")


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> int:
    """Copy no more than one byte beyond `size`; return the bytes copied."""
    done = 0
    while block := source.read(min(1 << 20, size + 1 - done)):
        target.write(block)
        done += len(block)
    return done


def _extract(archive: Path, folder: Path) -> None:
    limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * archive.stat().st_size + (64 << 20))
    try:
        limited: Any = _Limited(_decompressed(archive), archive, limit)
        with closing(limited), tarfile.open(fileobj=limited, mode="r:") as tar:
            size = 0
            for number, member in enumerate(tar):
                size += member.size
                if size > limit or number > MAX_FILES:
                    raise Refused(archive, f"unpacks to more than {limit >> 20} MiB or {MAX_FILES} files (a bomb)")
                # Data sets need no links, and a link can point outside the folder in many ways.
                if not (member.isreg() or member.isdir()):
                    raise Refused(archive, f"member {member.name[:200]!r} is a link or a special file")
                tar.extract(member, folder, filter="data")
            check_end(limited.last)
            limited.check_rest()
    except tarfile.FilterError as error:
        raise Refused(archive, str(error)) from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive}: not a tar archive, or damaged: {error}") from None


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as stream:
        head = stream.read(6)
    for magic, module in _PACKED:
        if head.startswith(magic):
            opened: IO[bytes] = module.open(archive)
            return opened
    return archive.open("rb")


def check_end(block: bytes) -> None:
    """Raise ReadError if a block is not the one of zeros that ends a tar file: `tarfile` takes a damaged header for the end."""
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends before the end of a tar file")
    if any(block):
        raise tarfile.ReadError("a header in the middle of it")


class _Limited:
    """A stream with size limits: `tarfile` reads headers of any announced size in one piece."""

    def __init__(self, stream: IO[bytes], archive: Path, limit: int):
        self.stream, self.archive, self.limit = stream, archive, limit
        self.tell, self.close = stream.tell, stream.close
        self.last = b""  # what was read last

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise Refused(self.archive, f"a header of {size} bytes")
        self.last = self.stream.read(size)
        return self.last

    def check_rest(self) -> None:
        """Read what is behind the archive: compression has its checksum there.

        Raises:
            UserError: more than zeros.
            Refused: too much.
        """
        while block := self.stream.read(1 << 20):
            if self.tell() > self.limit:
                raise Refused(self.archive, f"unpacks to more than {self.limit >> 20} MiB (a decompression bomb)")
            if block.count(0) < len(block):
                raise UserError(
                    f"{self.archive}: more follows the end of the archive (two in one file?): unpack it yourself"
                )

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self.limit:
            raise Refused(self.archive, f"unpacks to more than {self.limit >> 20} MiB (a decompression bomb)")
        return self.stream.seek(position, whence)
