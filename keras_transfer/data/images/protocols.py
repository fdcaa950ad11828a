"""What an image and a sequence of images can do, whatever holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from typing_extensions import Self

from keras_transfer.data.images.depth import Span


def content_of(names: Iterable[str], digests: Mapping[str, bytes]) -> np.ndarray:
    """Return the hashes of 16 bytes that these names have in ``digests``, uint8 (n, 16)."""
    return np.frombuffer(b"".join(digests[name] for name in names), np.uint8).reshape(-1, 16)


class Image(Protocol):
    """An image of known size, not necessarily decoded yet."""

    height: int
    width: int

    def pixels(self) -> np.ndarray:
        """Return uint8 (height, width, 3 or 1)."""

    def digest(self) -> bytes:
        """Return a 16-byte hash of the content."""

    def reduced(self, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the image at no less than 1 / `scale` of its size, if decoding that is cheaper.

        Returns:
            The uint8 pixels, and the float64 (3, 3) map from coordinates in the full image to coordinates in the
            pixels; None is the identity.
        """


class ImageStore(Protocol):
    """A sequence of images."""

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """Return the unique name of image i: for files, the path relative to the root, with forward slashes."""

    def read(self, i: int) -> np.ndarray:
        """Return uint8 (h, w, 3) RGB; raises BadImage."""

    def open(self, i: int) -> Image:
        """Return image i, not necessarily decoded; raises BadImage."""

    def take(self, indices: np.ndarray) -> ImageStore:
        """Return a store of these images, in this order."""

    def digests(self) -> Iterator[bytes]:
        """Yield bytes that change with the images, for the fingerprint."""

    def stamps(self) -> Iterator[bytes]:
        """Yield bytes for each image that change when it is rewritten on this machine; cheaper than `digests`."""


@runtime_checkable
class DecodingStore(ImageStore, Protocol):
    """Images that may be encoded: their content is known once they have been decoded, and so is the range of 16-bit ones.

    Attributes:
        content: hash of each image's content, uint8 (n, 16), or None before they have been checked.
        depth: values of 16-bit images that become 0 and 255; None: 0 and 65535.
    """

    content: np.ndarray | None
    depth: Span | None

    def with_depth(self, depth: Span | None) -> Self:
        """Return the same images, with these values of 16-bit ones as 0 and 255."""

    def knowing(self, digests: Mapping[str, bytes]) -> Self:
        """Return the same images with the hash of each one's content, by name: 16 bytes."""
