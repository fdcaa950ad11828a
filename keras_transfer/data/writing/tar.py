"""One tar file of samples in WebDataset's layout, the same bytes for the same samples."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import IO

BLOCK = 512
_END = 2 * BLOCK  # a tar file ends with two blocks of zeros
_CLASS_TYPES = {"jpeg": "jpg", "png": "png", "gif": "gif", "bmp": "bmp", "tiff": "tif", "ppm": "ppm", "webp": "webp"}


@dataclass(frozen=True)
class Record:
    """An image and what is written beside it.

    Attributes:
        row: of the image in its data.
        name: of the image.
        data: the image file.
        kind: its format (`decode.format_of`).
        digest: 16 bytes, hash of the file.
        values: smallest and largest value of a 16-bit image, or None.
    """

    row: int
    name: str
    data: bytes
    kind: str
    digest: bytes
    values: tuple[int, int] | None


class TarShard:
    """A tar file that is being written.

    Args:
        stream: the file, empty.
        number: of the first sample; samples are called by their number, since names may hold what WebDataset cannot: points, folders.

    Attributes:
        size: bytes written so far, with the end of the file.
        records: what was written, with the offset of each image.
    """

    def __init__(self, stream: IO[bytes], number: int):
        self._stream, self._number = stream, number
        self._digest = hashlib.sha256()
        self._at, self._ended = 0, False
        self.records: list[tuple[Record, int]] = []

    @property
    def size(self) -> int:
        """Bytes of the file if it ended now."""
        return self._at if self._ended else self._at + _END

    def size_with(self, record: Record) -> int:
        """Return bytes of the file if it ended after this record, at most."""
        return self.size + sum(BLOCK + _padded(size) for size in (len(record.data), 32, 256 + 4 * len(record.name)))

    def add(self, record: Record, label: object, about: dict[str, object]) -> None:
        """Write a sample: the image, `.cls` with its label, and `.json` with its name and all that is known.

        Args:
            record: the image.
            label: its class number, or the numbers of its labels, as text.
            about: content of the `.json` besides the name.
        """
        key = f"{self._number:09d}"
        self._number += 1
        offset = self._member(f"{key}.{_CLASS_TYPES.get(record.kind, 'png')}", record.data)
        self._member(f"{key}.cls", str(label).encode())
        about = {"name": record.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), **about}
        self._member(f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
        self.records.append((record, offset))

    def end(self) -> str:
        """Write the end of the file and return its SHA-256 in hex."""
        self._write(b"\0" * _END)
        self._ended = True
        return self._digest.hexdigest()

    def _member(self, name: str, content: bytes) -> int:
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), 0o644
        self._write(header.tobuf(tarfile.USTAR_FORMAT))
        offset = self._at
        self._write(content + b"\0" * (_padded(len(content)) - len(content)))
        return offset

    def _write(self, content: bytes) -> None:
        self._stream.write(content)
        self._digest.update(content)
        self._at += len(content)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
