"""Where pixels come from: files or an array in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_transfer.errors import UserError

if TYPE_CHECKING:
    from keras_transfer.data.images.decode import Header

__all__ = ["IMAGE_SUFFIXES", "ArrayStore", "BadImage", "FileStore", "Image", "ImageStore"]

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
"""File name endings, in lower case, that count as images when a folder is walked."""

MAX_FILE_BYTES = 1 << 30


class BadImage(UserError):
    """An image that cannot be read.

    Attributes:
        name: the image's name in its data set.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"cannot read the image {name!r}: {reason}")
        self.name, self.reason = name, reason


class Image(Protocol):
    """An image whose size is known but which need not be decoded yet."""

    height: int
    width: int

    def pixels(self) -> np.ndarray:
        """uint8 (height, width, 3 or 1)."""

    def digest(self) -> bytes:
        """16 bytes that two images share only if they are the same, byte for byte."""

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """The image at no less than 1 / `scale` of its size, if that is cheaper.

        Returns:
            The uint8 pixels, and the float64 (3, 3) map from coordinates in the whole image to coordinates in them;
            None stands for the identity.
        """


class ImageStore(Protocol):
    """A sequence of images."""

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """Unique name of image i: for files the path relative to the root, with forward slashes."""

    def read(self, i: int) -> np.ndarray:
        """uint8 (h, w, 3) RGB; raises BadImage."""

    def open(self, i: int) -> Image:
        """Image i, ready to be decoded; raises BadImage."""

    def take(self, indices: np.ndarray) -> ImageStore:
        """A store of these images, in this order."""

    def digests(self) -> Iterator[bytes]:
        """A few bytes that change when the images do, for the fingerprint."""

    def stamps(self) -> Iterator[bytes]:
        """A few bytes an image that change whenever it is written again on this machine, cheap to get."""


class FileStore:
    """Image files.

    Args:
        paths: paths, relative to `root` or absolute.
        root: folder that the names are relative to; None leaves the paths as they are.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], root: str | os.PathLike[str] | None = None):
        self.root = "" if root is None else os.path.abspath(root)  # noqa: PTH100
        self._names = [p if type(p) is str else os.fspath(p).replace(os.sep, "/") for p in paths]

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """Path of image i relative to the root (as given, without a root)."""
        return self._names[i]

    def path(self, i: int) -> Path:
        """Where image i is."""
        return Path(os.path.join(self.root, self._names[i]))  # noqa: PTH118 - called for every image

    def read(self, i: int) -> np.ndarray:
        """uint8 (h, w, 3) RGB, upright.

        Raises:
            BadImage: missing, cut short, not an image, too large.
        """
        return self.open(i).pixels()

    def open(self, i: int) -> EncodedImage:
        """Read the file and its header; the pixels are decoded on demand."""
        name = self._names[i]
        try:
            data = _read_file(os.path.join(self.root, name), name)  # noqa: PTH118
        except OSError as error:
            raise BadImage(
                name, "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            ) from None
        return EncodedImage(name, data)

    def read_scaled(self, i: int, min_side: int) -> tuple[np.ndarray, int]:
        """Decode no finer than needed.

        Args:
            i: which image.
            min_side: the shorter side shall have at least this many pixels, if the file has.

        Returns:
            The uint8 image and the factor (1, 2, 4 or 8) by which its sides were divided, rounding up.
        """
        image = self.open(i)
        reduction = image.reduction_for(min(image.height, image.width) / max(min_side, 1))
        return image.decoded(reduction), reduction

    def take(self, indices: np.ndarray) -> FileStore:
        """A store of these images, in this order."""
        names = self._names
        store = FileStore([names[i] for i in indices.tolist()])
        store.root = self.root
        return store

    def digests(self) -> Iterator[bytes]:
        """The files' sizes in bytes."""
        for name in self._names:
            try:
                size = os.stat(os.path.join(self.root, name)).st_size  # noqa: PTH116, PTH118
            except OSError:
                size = -1
            yield b"%d," % size

    def stamps(self) -> Iterator[bytes]:
        """The files' sizes and times of their last change, in nanoseconds."""
        for name in self._names:
            try:
                found = os.stat(os.path.join(self.root, name))  # noqa: PTH116, PTH118
            except OSError:
                yield b"missing,"
            else:
                yield b"%d:%d," % (found.st_size, found.st_mtime_ns)


def _read_file(path: str, name: str) -> bytes:
    """The bytes of a file with as few system calls as will do: they cost as much as reading it."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        size = os.fstat(file).st_size
        if size > MAX_FILE_BYTES:
            raise BadImage(name, f"the file has more than {MAX_FILE_BYTES >> 20} MiB")
        data = os.read(file, size)
        if len(data) == size:
            return data
        with open(file, "rb", buffering=0, closefd=False) as stream:  # a pipe, or a file system that gives less at once
            return data + stream.read()
    finally:
        os.close(file)


class EncodedImage:
    """The bytes of an image file."""

    __slots__ = ("_array", "_data", "_header", "height", "name", "width")

    def __init__(self, name: str, data: bytes):
        from keras_transfer.data.images.decode import DecodeError, read_header

        self.name, self._data = name, data
        self._array: np.ndarray | None = None
        try:
            self._header: Header = read_header(data)
        except DecodeError as error:
            raise BadImage(name, str(error)) from None
        if self._header.plain:
            self.height, self.width = self._header.height, self._header.width
            if self._header.orientation >= 5:
                self.height, self.width = self.width, self.height
        else:
            # Formats with many variants: only decoding tells the size for certain.
            self._array = self._decode(1)
            self.height, self.width = self._array.shape[:2]

    @property
    def format(self) -> str:
        """What the content says, whatever the file's name; see `decode.format_of`."""
        from keras_transfer.data.images.decode import format_of

        return format_of(self._data)

    def digest(self) -> bytes:
        """Hash of the file's content."""
        return hashlib.blake2b(self._data, digest_size=16).digest()

    def reduction_for(self, scale: float) -> int:
        """The largest cheap reduction that is not more than `scale`."""
        if not (self._header.plain and self._header.kind == "jpeg"):
            return 1
        return next((k for k in (8, 4, 2) if k <= scale), 1)

    def pixels(self) -> np.ndarray:
        """uint8 (height, width, 3) RGB; raises BadImage."""
        return self.decoded(1)

    def decoded(self, reduction: int) -> np.ndarray:
        """The pixels with the sides divided by 1, 2, 4 or 8 where the format allows, rounding up."""
        return self._decode(reduction) if self._array is None else self._array

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Image.reduced`."""
        k = self.reduction_for(scale)
        image = self.decoded(k)
        if k == 1 or image.shape[:2] == (self.height, self.width):
            return image, None
        # A pixel stands for k x k pixels of the file; the last ones may reach beyond its right and lower edge, which
        # turning the image upright may have made its left or upper one.
        turn = self._header.orientation
        x = -self.width % k if turn in (2, 3, 6, 7) else 0
        y = -self.height % k if turn in (3, 4, 7, 8) else 0
        return image, np.array([[1 / k, 0, x / k], [0, 1 / k, y / k], [0, 0, 1]])

    def _decode(self, reduction: int) -> np.ndarray:
        from keras_transfer.data.images.decode import DecodeError, decode

        try:
            return decode(self._data, reduction, self._header)
        except DecodeError as error:
            raise BadImage(self.name, str(error)) from None


class ArrayImage:
    """An image in memory."""

    __slots__ = ("_array", "height", "width")

    def __init__(self, array: np.ndarray):
        self._array = array
        self.height, self.width = array.shape[:2]

    def pixels(self) -> np.ndarray:
        """uint8 (height, width, 1 or 3)."""
        return self._array

    def digest(self) -> bytes:
        """Hash of the pixels."""
        return hashlib.blake2b(self._array.tobytes(), digest_size=16).digest()

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """The pixels as they are; see `Image.reduced`."""
        return self._array, None


class ArrayStore:
    """Images of one size in an array.

    Args:
        array: uint8 (n, h, w) or (n, h, w, 1) grey, (n, h, w, 3) RGB, (n, h, w, 4) RGB with alpha (laid on white).
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
        """Name of image i."""
        return self._names[i]

    def read(self, i: int) -> np.ndarray:
        """uint8 (h, w, 3) RGB."""
        image = self.open(i).pixels()
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image

    def open(self, i: int) -> ArrayImage:
        """Image i, without a copy."""
        image = self.array[i]
        if image.shape[-1] == 4 and image.ndim == 3:
            from keras_transfer.data.images.decode import on_white

            image = on_white(image)
        return ArrayImage(image if image.ndim == 3 else image[..., None])

    def take(self, indices: np.ndarray) -> ArrayStore:
        """A store of these images, in this order; the array is only copied if it must be."""
        if np.array_equal(indices, np.arange(len(self))):
            return self
        return ArrayStore(self.array[indices], [self._names[i] for i in indices])

    def digests(self) -> Iterator[bytes]:
        """The hash of every image's pixels."""
        for image in self.array:
            yield hashlib.sha256(image.tobytes()).digest()

    def stamps(self) -> Iterator[bytes]:
        """The same as the digests: there is no file that could tell sooner."""
        return self.digests()


def _checked_images(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != np.uint8:
        hint = " (values 0..1 times 255, rounded)" if array.dtype.kind == "f" else ""
        raise UserError(f"images must be uint8 with values 0..255{hint}, received dtype {array.dtype}")
    good = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))
    if not good or 0 in array.shape[1:]:
        raise UserError(
            f"images must have the shape (n, height, width) or (n, height, width, 1, 3 or 4), received {array.shape}"
        )
    return array
