"""Row groups of Parquet files with image bytes as blocks: each becomes one local file of images behind a table of where they begin."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from keras_transfer.data.sharded.blocks import DamagedShard
from keras_transfer.data.sharded.places import CannotRead, Place, without_secrets
from keras_transfer.errors import MissingExtra


def arrow() -> Any:
    """Return `pyarrow.parquet`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "reading Parquet files") from None
    return pyarrow.parquet


@contextmanager
def opened(place: Place, path: str) -> Iterator[Any]:
    """Open a Parquet file; only what is asked for is read.

    Raises:
        DamagedShard: it is missing, or no Parquet file.
    """
    import pyarrow

    try:
        with place.open(path) as stream, arrow().ParquetFile(stream) as file:
            yield file
    except CannotRead as error:
        raise DamagedShard(path, "it is missing" if "no such file" in str(error).lower() else str(error)) from None
    except (pyarrow.ArrowException, OSError, ValueError, struct.error) as error:
        if isinstance(error, FileNotFoundError):
            raise DamagedShard(path, "it is missing") from None
        raise DamagedShard(
            path, f"not a Parquet file, or damaged: {without_secrets(' '.join(str(error).split())[:200])}"
        ) from None


class ParquetBlock:
    """The images of one row group.

    Args:
        place: where the file is.
        path: its path or address.
        version: a text that changes when the file is replaced.
        group: number of the row group.
        column: that holds the images: binary, or a struct with the field bytes.
        size: bytes of the column, about those of the local file.
    """

    def __init__(self, place: Place, path: str, version: str, group: int, column: str, size: int):
        self.place, self.path, self.group, self.column = place, path, group, column
        self.name, self.size = f"{path} (row group {group})", size
        self.key = hashlib.sha256(f"{path}\0{version}\0{group}\0{column}".encode()).hexdigest()

    def local(self) -> None:
        """Return None: also a local file has to be taken apart."""

    def range(self, start: int, end: int) -> None:
        """Return None: single images cannot be read."""

    def write(self, stream: IO[bytes]) -> None:
        """Write the table, int64 starts and the end of the last image, and the images; raises DamagedShard."""
        with opened(self.place, self.path) as file:
            images = images_of(file.read_row_group(self.group, columns=[self.column]).column(0))
            sizes = [len(image) for image in images]
            starts = np.cumsum([8 * (len(sizes) + 1), *sizes], dtype="<i8")
            stream.write(starts.tobytes())
            for image in images:
                stream.write(image)


def images_of(column: Any) -> list[bytes]:
    """Return the image files in a column; an empty one for what is null, which is then no image."""
    import pyarrow

    if pyarrow.types.is_struct(column.type):
        column = pyarrow.compute.struct_field(column, "bytes")
    return [b"" if value is None else value for value in column.to_pylist()]
