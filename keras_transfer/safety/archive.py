"""Check the directory of a zip archive before unpacking, and read ``.npz`` files.

NumPy's loader allocates the size that an array's header declares without comparing it with the file;
:func:`read_npz` compares first.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping
from typing import IO

import numpy as np

from keras_transfer.safety import Refused

MAX_RATIO = 200
"""Maximum compression ratio of a member. Weights hardly compress; JSON compresses about 20 times."""
FREE = 1 << 20
"""Members of up to this many bytes may have any ratio."""
MAX_MEMBERS = 10_000

_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def check_members(archive: zipfile.ZipFile, path: str | os.PathLike[str], limits: Mapping[str, int] | int) -> None:
    """Check the directory of an archive.

    Args:
        archive: opened for reading.
        path: its name in errors.
        limits: allowed member name → maximum size in bytes, or one maximum for any name.

    Raises:
        Refused: a member name that is not allowed, leads out of the archive or occurs twice; a link; an encrypted
            member; a size or compression ratio above its limit; overlapping members.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise Refused(path, f"{len(members)} members, more than {MAX_MEMBERS}")
    seen: set[str] = set()
    for member in members:
        reason = _problem(member, seen, limits)
        if reason:
            raise Refused(path, f"member {member.orig_filename[:200]!r}: {reason}")
        seen.add(member.filename)
    if archive.fp is None or sum(m.compress_size for m in members) > archive.fp.seek(0, io.SEEK_END):
        raise Refused(path, "its members overlap, or are larger than the archive (a decompression bomb)")


def _problem(member: zipfile.ZipInfo, seen: set[str], limits: Mapping[str, int] | int) -> str | None:
    name = member.orig_filename
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return "its path leads out of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    if member.compress_type not in _METHODS:
        return f"compressed by method {member.compress_type}, expected stored or deflated"
    if member.filename in seen:
        return "occurs twice"
    if name != member.filename or "\0" in name:
        return "its name has forbidden characters"
    limit = limits if isinstance(limits, int) else limits.get(name)
    if limit is None:
        return "not expected in such a file"
    if member.file_size > limit:
        return f"{member.file_size} bytes, more than the limit of {limit}"
    if member.file_size > MAX_RATIO * member.compress_size + FREE:
        return f"unpacks from {member.compress_size} to {member.file_size} bytes (a decompression bomb)"
    return None


def read_npz(
    source: str | os.PathLike[str] | IO[bytes],
    path: str | os.PathLike[str],
    names: Iterable[str] | None = None,
    limit: int = 1 << 36,
) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file, allocating no more than their actual sizes.

    Args:
        source: the file, or an open binary stream.
        path: its name in errors.
        names: the arrays that it may contain; None: any.
        limit: maximum size of an array in bytes.

    Returns:
        Name → array (writable, owning its memory).

    Raises:
        Refused: see :func:`check_members`; an array of Python objects, or whose header declares another size than its
            data has.
        zipfile.BadZipFile, OSError, EOFError, ValueError: not an ``.npz`` file, or damaged.
    """
    limits = limit if names is None else {f"{name}.npy": limit for name in names}
    with zipfile.ZipFile(source) as archive:
        check_members(archive, path, limits)
        return {
            member.filename.removesuffix(".npy"): _array(_content(archive, member), path, member.filename)
            for member in archive.infolist()
        }


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytearray:
    content = bytearray(member.file_size)
    view, done = memoryview(content), 0
    with archive.open(member) as stream:
        while done < len(content):
            block = stream.read(1 << 20)
            if not block:
                raise EOFError(f"{member.filename} is cut short")
            view[done : done + len(block)] = block
            done += len(block)
    return content


def _array(content: bytearray, path: str | os.PathLike[str], name: str) -> np.ndarray:
    stream = io.BytesIO(memoryview(content)[: 1 << 17])  # more than any header
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{name} has the unknown format version {version}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise Refused(path, f"array {name!r} holds Python objects (a pickle, which could run code)")
    claimed, held = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if claimed != held or dtype.itemsize == 0 or min((0, *shape)) < 0:
        raise Refused(path, f"array {name!r} claims {claimed} bytes, but holds {held}")
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if fortran else "C")
