"""Decoded images that stay in memory from one epoch to the next: decoding is most of the work of loading."""

from __future__ import annotations

import threading

import numpy as np

from keras_transfer.data.images.protocols import Image, ImageStore
from keras_transfer.data.images.store import EncodedImage

_OBJECTS = 1024  # bytes of the objects that hold an image: of a million small ones, a gigabyte


class Room:
    """A number of bytes that several threads take from."""

    def __init__(self, size: int):
        self._left, self._lock = size, threading.Lock()

    def take(self, size: int) -> bool:
        """Take this many bytes; False if there are not as many left."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True


class KeptImage:
    """An image file whose decoded pixels are kept while there is room: see `Image`."""

    __slots__ = ("_forms", "_image", "_room", "height", "width")

    def __init__(self, image: EncodedImage, room: Room):
        self._image, self._room = image, room
        self._forms: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self.height, self.width = image.height, image.width

    def pixels(self) -> np.ndarray:
        """Return uint8 (height, width, 3) RGB; raises BadImage."""
        return self._image.pixels()

    def digest(self) -> bytes:
        """Return a hash of the file's content."""
        return self._image.digest()

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the file's own image would: kept pixels are those of the same reduction."""
        reduction = self._image.reduction_for(scale)
        found = self._forms.get(reduction)
        if found is None:
            found = self._image.reduced(scale)
            # Another thread may have decoded it for the epoch that follows: the room is taken once.
            if reduction not in self._forms and self._room.take(found[0].nbytes):
                self._forms[reduction] = found
        return found


class KeptImages:
    """Opens the images of a store and keeps what it has read and decoded, up to a limit.

    What is kept stays, and the rest is decoded in every epoch: each image is needed once an epoch, in an order that changes, so that another
    would not be needed any sooner. Images that are in memory already are given as they are.

    Args:
        images: the images.
        limit: bytes to keep at most.
    """

    def __init__(self, images: ImageStore, limit: int):
        self._images, self._room = images, Room(limit)
        self._kept: dict[int, KeptImage] = {}

    def open(self, i: int) -> Image:
        """Return image i; raises BadImage."""
        kept = self._kept.get(i)
        if kept is not None:
            return kept
        image = self._images.open(i)
        if not isinstance(image, EncodedImage) or not self._room.take(len(image.data) + _OBJECTS):
            return image
        return self._kept.setdefault(i, KeptImage(image, self._room))
