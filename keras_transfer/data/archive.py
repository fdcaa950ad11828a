"""Unpacking archives, safely and once."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from keras_transfer.errors import UserError
from keras_transfer.runtime import cache_dir

MAX_UNPACKED_BYTES = 64 << 30


def unpack(archive: str | os.PathLike[str]) -> Path:
    """Unpack a tar archive (plain or compressed) to the cache and return the folder.

    The folder is named after the archive's content, and appears only when it is complete: an archive is unpacked once,
    and a second process or a crash in between does no harm. Members that would land outside of the folder, links that
    lead out of it and special files are refused (`tarfile`'s filter "data").

    Raises:
        UserError: the archive is damaged, dangerous, or there is no room for it.
    """
    archive = Path(archive)
    try:
        with archive.open("rb") as stream:
            key = hashlib.file_digest(stream, "sha256").hexdigest() if _HAS_DIGEST else _digest(stream)
        target = cache_dir() / "archives" / key[:32]
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    except OSError as error:
        raise UserError(f"cannot unpack {str(archive)!r}: {error}") from None
    try:
        _extract(archive, aside)
        aside.chmod(0o755)
        aside.rename(target)
    except OSError as error:
        if not target.is_dir():  # otherwise another process was faster
            raise UserError(f"cannot unpack {str(archive)!r}: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


_HAS_DIGEST = hasattr(hashlib, "file_digest")  # Python 3.11


def _digest(stream) -> str:  # type: ignore[no-untyped-def]
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _extract(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            size = 0
            for member in tar:
                size += member.size
                if size > MAX_UNPACKED_BYTES:
                    raise UserError(f"{archive}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB")
                tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: refused, because the archive is dangerous: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive}: not a tar archive, or damaged: {error}") from None
