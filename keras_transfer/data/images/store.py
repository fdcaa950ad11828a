"""Image stores: files, or an array in memory."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.data.images.depth import FULL, Span
from keras_transfer.data.images.fetch import fetch, is_address
from keras_transfer.data.images.protocols import DecodingStore, Image, ImageStore, content_of
from keras_transfer.errors import UserError

if TYPE_CHECKING:
    from keras_transfer.data.images.decode import Header

__all__ = ["IMAGE_SUFFIXES", "ArrayStore", "BadImage", "DecodingStore", "FileStore", "Image", "ImageStore"]

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
"""Extensions, in lower case, of the files that count as images in a folder."""

MAX_FILE_BYTES = 1 << 30


class BadImage(UserError):
    """An image that cannot be read.

    Attributes:
        name: name of the image in its data set.
        reason: why it cannot be read.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"cannot read the image {name!r}: {reason}")
        self.name, self.reason = name, reason


class FileStore:
    """Image files.

    Args:
        paths: paths, absolute or relative to `root`.
        root: folder that the names are relative to; None keeps the paths unchanged, which may then be web addresses.
        depth: (low, high), the values of 16-bit images that become 0 and 255; None: 0 and 65535.

    Attributes:
        content: hash of each file's content, uint8 (n, 16), once they have been checked; see `knowing`.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        root: str | os.PathLike[str] | None = None,
        depth: Span | None = None,
    ):
        self.depth = depth
        self.root = "" if root is None else os.path.abspath(root)  # noqa: PTH100
        self._names = [p if type(p) is str else os.fspath(p).replace(os.sep, "/") for p in paths]
        self.content: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """Return the path of image i relative to the root (as given, without a root)."""
        return self._names[i]

    def path(self, i: int) -> Path:
        """Return the full path of image i."""
        return Path(os.path.join(self.root, self._names[i]))  # noqa: PTH118 - called for every image

    def read(self, i: int) -> np.ndarray:
        """Return uint8 (h, w, 3) RGB, upright.

        Raises:
            BadImage: the file is missing, truncated, not an image, or too large.
        """
        return self.open(i).pixels()

    def open(self, i: int) -> EncodedImage:
        """Read the file and its header; pixels are decoded on demand."""
        name = self._names[i]
        try:
            if not self.root and is_address(name):
                return EncodedImage(name, fetch(name), self.depth)
            data = _read_file(os.path.join(self.root, name), name)  # noqa: PTH118
        except OSError as error:
            raise BadImage(
                name, "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            ) from None
        except ValueError as error:  # a name that no system allows: a zero byte, half a character
            raise BadImage(name, f"not a file name: {error}") from None
        return EncodedImage(name, data, self.depth)

    def take(self, indices: np.ndarray) -> FileStore:
        """Return a store of these images, in this order."""
        names = self._names
        store = FileStore([names[i] for i in indices.tolist()], depth=self.depth)
        store.root = self.root
        store.content = None if self.content is None else self.content[indices]
        return store

    def with_depth(self, depth: Span | None) -> FileStore:
        """Return the same files, whose 16-bit images are read with these values as 0 and 255."""
        store = self.take(np.arange(len(self)))
        store.depth = depth
        return store

    def knowing(self, digests: Mapping[str, bytes]) -> FileStore:
        """Return the same files with the hash of each one's content, by name: 16 bytes."""
        store = self.take(np.arange(len(self)))
        store.content = content_of(self._names, digests)
        return store

    def digests(self) -> Iterator[bytes]:
        """Yield the hashes of the contents if they are known, else the file sizes."""
        if self.content is not None:
            yield from map(bytes, self.content)
            return
        for name in self._names:
            try:
                size = os.stat(os.path.join(self.root, name)).st_size  # noqa: PTH116, PTH118
            except OSError:
                size = -1
            yield b"%d," % size

    def stamps(self) -> Iterator[bytes]:
        """Yield the file sizes and modification times in nanoseconds, with the hash of the content if it is known."""
        for i, name in enumerate(self._names):
            known = b"" if self.content is None else bytes(self.content[i])
            known += b"" if self.depth is None else b"%d-%d" % self.depth
            try:
                found = os.stat(os.path.join(self.root, name))  # noqa: PTH116, PTH118
            except OSError:
                yield b"missing," + known
            else:
                yield b"%d:%d," % (found.st_size, found.st_mtime_ns) + known


# Opening a pipe waits for its writer, unless one asks not to.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((kind for test, kind in kinds if test(mode)), "something else")


def _read_file(path: str, name: str) -> bytes:
    """Read a file with a minimum of system calls, which cost as much as reading it."""
    file = os.open(path, _FLAGS)
    try:
        status = os.fstat(file)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # of a folder, reading says so
            raise BadImage(name, f"not a file, but {_kind(status.st_mode)}")
        size = status.st_size
        if size > MAX_FILE_BYTES:
            raise BadImage(name, f"the file has more than {MAX_FILE_BYTES >> 20} MiB")
        data = os.read(file, size)
        if len(data) == size:
            return data
        with open(file, "rb", buffering=0, closefd=False) as stream:  # a short read
            return data + stream.read()
    finally:
        os.close(file)


class EncodedImage:
    """The bytes of an image file.

    Attributes:
        values: smallest and largest value of a 16-bit image; None of others.
    """

    __slots__ = ("_array", "_data", "_header", "_span", "height", "name", "values", "width")

    def __init__(self, name: str, data: bytes, depth: Span | None = None):
        from keras_transfer.data.images.decode import DecodeError, read_header

        self.name, self._data = name, data
        self._array: np.ndarray | None = None
        self._span: Span = depth or FULL
        self.values: Span | None = None
        try:
            self._header: Header = read_header(data)
        except DecodeError as error:
            raise BadImage(name, str(error)) from None
        if self._header.plain:
            self.height, self.width = self._header.height, self._header.width
            if self._header.orientation >= 5:
                self.height, self.width = self.width, self.height
        else:
            # Formats with many variants: only decoding gives a reliable size.
            self._array = self._decode(1)
            self.height, self.width = self._array.shape[:2]

    @property
    def format(self) -> str:
        """Format of the content, regardless of the extension; see `decode.format_of`."""
        from keras_transfer.data.images.decode import format_of

        return format_of(self._data)

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self._data

    def at_depth(self, depth: Span | None) -> EncodedImage:
        """Return the same image, with these values of 16 bits as 0 and 255."""
        return (
            self if self.values is None or (depth or FULL) == self._span else EncodedImage(self.name, self._data, depth)
        )

    def digest(self) -> bytes:
        """Return a hash of the file's content."""
        return hashlib.blake2b(self._data, digest_size=16).digest()

    def reduction_for(self, scale: float) -> int:
        """Return the largest cheap reduction that is at most `scale`."""
        if not (self._header.plain and self._header.kind == "jpeg"):
            return 1
        return next((k for k in (8, 4, 2) if k <= scale), 1)

    def pixels(self) -> np.ndarray:
        """Return uint8 (height, width, 3) RGB; raises BadImage."""
        return self.decoded(1)

    def decoded(self, reduction: int) -> np.ndarray:
        """Return the pixels with sides divided by 1, 2, 4 or 8 if the format allows, rounded up."""
        return self._decode(reduction) if self._array is None else self._array

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Image.reduced`."""
        k = self.reduction_for(scale)
        image = self.decoded(k)
        if k == 1 or image.shape[:2] == (self.height, self.width):
            return image, None
        # A pixel covers k x k pixels of the file; the last ones may extend beyond its right and lower edges, which
        # become left or upper ones when the image is turned upright.
        turn = self._header.orientation
        x = -self.width % k if turn in (2, 3, 6, 7) else 0
        y = -self.height % k if turn in (3, 4, 7, 8) else 0
        return image, np.array([[1 / k, 0, x / k], [0, 1 / k, y / k], [0, 0, 1]])

    def _decode(self, reduction: int) -> np.ndarray:
        from keras_transfer.data.images.decode import DecodeError, decode

        try:
            seen: list[Span] = []
            image = decode(self._data, reduction, self._header, self._span, seen)
        except DecodeError as error:
            raise BadImage(self.name, str(error)) from None
        self.values = seen[0] if seen else None
        return image


class ArrayImage:
    """An image in memory.

    Attributes:
        values: smallest and largest value of what was a 16-bit image; None of others.
    """

    __slots__ = ("_array", "height", "values", "width")

    def __init__(self, array: np.ndarray, values: Span | None = None):
        self._array, self.values = array, values
        self.height, self.width = array.shape[:2]

    def pixels(self) -> np.ndarray:
        """Return uint8 (height, width, 1 or 3)."""
        return self._array

    def digest(self) -> bytes:
        """Return a hash of the pixels."""
        return hashlib.blake2b(self._array.tobytes(), digest_size=16).digest()

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the pixels unchanged; see `Image.reduced`."""
        return self._array, None


class ArrayStore:
    """Images of one size in an array.

    Args:
        array: uint8 (n, h, w) or (n, h, w, 1) grey, (n, h, w, 3) RGB, (n, h, w, 4) RGBA (composited on white).
        names: unique names; by default the zero-padded number.

    Raises:
        UserError: wrong dtype or shape.
    """

    def __init__(self, array: np.ndarray, names: Sequence[str] | None = None):
        self.array = _checked_images(array)
        self._names = list(names) if names is not None else [f"{i:08d}" for i in range(len(self.array))]
        if len(self._names) != len(self.array):
            raise UserError(f"{len(self._names)} names for {len(self.array)} images")

    def __len__(self) -> int:
        return len(self.array)

    def name(self, i: int) -> str:
        """Return the name of image i."""
        return self._names[i]

    def read(self, i: int) -> np.ndarray:
        """Return uint8 (h, w, 3) RGB."""
        image = self.open(i).pixels()
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def open(self, i: int) -> ArrayImage:
        """Return image i without copying it."""
        image = self.array[i]
        if image.shape[-1] == 4 and image.ndim == 3:
            from keras_transfer.data.images.decode import on_white

            image = on_white(image)
        return ArrayImage(image if image.ndim == 3 else image[..., None])

    def take(self, indices: np.ndarray) -> ArrayStore:
        """Return a store of these images, in this order; copies the array only if necessary."""
        if np.array_equal(indices, np.arange(len(self))):
            return self
        return ArrayStore(self.array[indices], [self._names[i] for i in indices])

    def digests(self) -> Iterator[bytes]:
        """Yield the hash of every image's pixels."""
        for image in self.array:
            yield hashlib.sha256(image.tobytes()).digest()

    def stamps(self) -> Iterator[bytes]:
        """Yield the digests: there is nothing cheaper for arrays."""
        return self.digests()


def _checked_images(images: Any) -> np.ndarray:
    array: np.ndarray = np.asarray(images)
    if array.dtype != np.uint8:
        hint = " (values 0..1 times 255, rounded)" if array.dtype.kind == "f" else ""
        raise UserError(f"images must be uint8 with values 0..255{hint}, received dtype {array.dtype}")
    good = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))
    if not good or 0 in array.shape[1:]:
        raise UserError(
            f"images must have the shape (n, height, width) or (n, height, width, 1, 3 or 4), received {array.shape}"
        )
    return array
