"""What an image and a sequence of images can do, whatever holds them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from typing_extensions import Self

from keras_transfer.data.images.depth import Span

_OWNERS = itertools.count(1)


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


@runtime_checkable
class BlockStore(ImageStore, Protocol):
    """Images that lie in blocks, which are fetched as a whole from where they are.

    Attributes:
        window: blocks whose images are shuffled together, because no more can be kept at a time; 0: all, in any order.
        fetches: whether blocks are fetched at all.
    """

    @property
    def window(self) -> int:
        """Number of blocks whose images are shuffled together; 0: all."""

    @property
    def fetches(self) -> bool:
        """Whether blocks are fetched at all."""

    def blocks(self, rows: np.ndarray) -> np.ndarray:
        """Return the block of each of these images, int64 (m,)."""

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """Return numbers that grow as images lie in their block, int64 (m,)."""

    def announce(self, owner: int, blocks: Sequence[int]) -> None:
        """Say which blocks a reader will need, in which order; an empty list ends it.

        Args:
            owner: a number of its own for each reader (`new_owner`).
            blocks: numbers of blocks.
        """

    def gather(self, rows: np.ndarray) -> None:
        """Read these few images at the same time and hold them until they are opened."""


def new_owner() -> int:
    """Return a number that no other reader of a `BlockStore` has."""
    return next(_OWNERS)


def in_storage_order(images: ImageStore, rows: np.ndarray) -> np.ndarray:
    """Return rows in the order in which they lie in their blocks, where only some of the blocks can be kept; else unchanged."""
    if not (isinstance(images, BlockStore) and images.window):
        return rows
    return np.asarray(rows[np.lexsort((images.offsets(rows), images.blocks(rows)))])


def one_pass(images: ImageStore, size: int = 64) -> list[Iterable[int]]:
    """Return all rows in chunks, in an order in which every block is fetched once, and ahead of time."""
    rows = in_storage_order(images, np.arange(len(images)))
    chunks = [chunk.tolist() for chunk in np.array_split(rows, max(1, len(rows) // size))]
    if not (isinstance(images, BlockStore) and images.fetches):
        return list(chunks)
    needed = list(dict.fromkeys(images.blocks(rows).tolist()))
    place = {block: k for k, block in enumerate(needed)}
    first = [min((place[b] for b in images.blocks(np.array(chunk)).tolist()), default=0) for chunk in chunks if chunk]
    owner = new_owner()

    def read(number: int) -> Iterator[int]:
        if number == 0 or first[number] != first[number - 1]:
            images.announce(owner, needed[max(first[number] - 1, 0) :])  # another thread may still read the one before
        yield from chunks[number]
        if number == len(chunks) - 1:
            images.announce(owner, [])

    return [read(number) for number in range(len(first))]
