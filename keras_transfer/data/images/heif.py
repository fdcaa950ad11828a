"""HEIC and AVIF: pictures of telephones, read where a library for them is installed."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

SUFFIXES = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF"}
"""Extensions in lower case, and what they hold."""
FORMATS = ("HEIF", "AVIF")
"""Their names in Pillow."""

_HEIC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
_AVIF = frozenset([b"avif", b"avis"])


def kind_of(data: bytes) -> str:
    """Return "HEIC" or "AVIF" according to the first bytes of a file, or an empty string."""
    if data[4:8] != b"ftyp":
        return ""
    size = min(max(int.from_bytes(data[:4], "big"), 16), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else ""


@functools.cache
def can_read(kind: str) -> bool:
    """Say whether Pillow can read a kind, having told it of pillow-heif where that is installed."""
    from PIL import Image, features

    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return "HEIF" in Image.OPEN if kind == "HEIC" else "AVIF" in Image.OPEN and bool(features.check("avif"))


def reads_suffix(suffix: str) -> bool:
    """Say whether files of an extension (lower case, with its dot) are pictures of these kinds that can be read here."""
    return suffix in SUFFIXES and can_read(SUFFIXES[suffix])


def is_hollow(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins like HEIC or AVIF and has no picture in it.

    Telephones and clouds leave such files in place of pictures that were never copied. They are no damaged pictures: the box
    ``meta``, or ``moov`` of a sequence, which says what the file holds, is not there at all (ISO/IEC 14496-12, 4.2 and 8.11).
    """
    if not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            if not kind_of(file.read(256)):
                return False
            at = 0
            for _ in range(64):  # boxes: their length, their name
                file.seek(at)
                head = file.read(16)
                size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
                if len(head) < 8 or head[4:8] in (b"meta", b"moov"):
                    return len(head) < 8
                if size < 8:  # 0: to the end of the file
                    return True
                at += size
    except OSError:  # said where it is read
        pass
    return False


def way_round(kind: str) -> str:
    """Return why a picture of a kind cannot be read, and what to do."""
    return f'a picture in the format {kind}, which needs pillow-heif: pip install "keras_transfer[heif]", or save it as JPEG'
