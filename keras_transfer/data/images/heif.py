"""HEIC and AVIF: pictures of telephones, read where a library for them is installed."""

from __future__ import annotations

import functools
import importlib.util

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


def way_round(kind: str) -> str:
    """Return why a picture of a kind cannot be read, and what to do."""
    return f'a picture in the format {kind}, which needs pillow-heif: pip install "keras_transfer[heif]", or save it as JPEG'
