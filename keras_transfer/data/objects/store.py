"""Images of any kinds and sizes in memory, or read one by one from a data set object, as an image store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_transfer.data.images.depth import Span
from keras_transfer.data.images.protocols import content_of
from keras_transfer.data.images.store import BadImage, Image
from keras_transfer.data.objects.pixels import Pixels
from keras_transfer.errors import UserError


class ObjectStore:
    """A sequence of images that are objects; see `pixels.ACCEPTED`.

    Args:
        images: the images; an item may be read anew each time it is asked for, one at a time.
        names: their unique names.
        pixels: knows the range of floating-point pixels.
        depth: (low, high), the values of 16-bit images that become 0 and 255; None: 0 and 65535.

    Attributes:
        content: hash of each image's content, uint8 (n, 16), once they have been checked; see `knowing`.
    """

    def __init__(
        self, images: Sequence[Any], names: Sequence[str], pixels: Pixels | None = None, depth: Span | None = None
    ):
        if len(names) != len(images):
            raise UserError(f"{len(names)} names for {len(images)} images")
        self._images, self._names, self._pixels = images, list(names), pixels or Pixels()
        self.depth = depth
        self.content: np.ndarray | None = None
        self._rows = np.arange(len(images))
        self._lock = threading.Lock()  # data set objects are rarely made for several threads

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, i: int) -> str:
        """Return the name of image i."""
        return self._names[int(self._rows[i])]

    def open(self, i: int) -> Image:
        """Return image i, not necessarily decoded; raises BadImage."""
        row = int(self._rows[i])
        try:
            with self._lock:
                image = self._images[row]
        except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
            raise BadImage(self._names[row], f"{type(error).__name__}: {error}") from error
        return self._pixels.open(image, self._names[row], self.depth)

    def read(self, i: int) -> np.ndarray:
        """Return uint8 (h, w, 3) RGB; raises BadImage."""
        pixels = self.open(i).pixels()
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def take(self, indices: np.ndarray) -> ObjectStore:
        """Return a store of these images, in this order."""
        rows = np.asarray(indices, np.int64)
        taken = ObjectStore(self._images, self._names, self._pixels, self.depth)
        taken._rows, taken._lock = self._rows[rows], self._lock
        taken.content = None if self.content is None else self.content[rows]
        return taken

    def with_depth(self, depth: Span | None) -> ObjectStore:
        """Return the same images, with these values of 16-bit ones as 0 and 255."""
        store = self.take(np.arange(len(self)))
        store.depth = depth
        return store

    def knowing(self, digests: Mapping[str, bytes]) -> ObjectStore:
        """Return the same images with the hash of each one's content, by name: 16 bytes."""
        store = self.take(np.arange(len(self)))
        store.content = content_of(map(self.name, range(len(self))), digests)
        return store

    def digests(self) -> Iterator[bytes]:
        """Yield the hash of every image's content."""
        if self.content is not None:
            yield from map(bytes, self.content)
            return
        for i in range(len(self)):
            yield self.open(i).digest()

    def stamps(self) -> Iterator[bytes]:
        """Yield the digests, with the depth: there is nothing cheaper for objects."""
        known = b"" if self.depth is None else b"%d-%d" % self.depth
        return (digest + known for digest in self.digests())


class Joined(Sequence[Any]):
    """Several sequences one after the other, without copying."""

    def __init__(self, parts: Sequence[Sequence[Any]]):
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        part = int(np.searchsorted(self._ends, index, "right"))
        return self._parts[part][int(index) - (int(self._ends[part - 1]) if part else 0)]
