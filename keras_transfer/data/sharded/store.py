"""Images in shards, as an image store: each is read by itself, from a local shard, a fetched one, or a range of a remote one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_transfer.data.images.depth import Span
from keras_transfer.data.images.protocols import content_of
from keras_transfer.data.images.store import EncodedImage
from keras_transfer.data.sharded.files import BlockFiles
from keras_transfer.data.sharded.places import CONNECTIONS
from keras_transfer.data.sharded.texts import Texts


@dataclass(frozen=True)
class Located:
    """Where the images of a data set lie.

    Attributes:
        files: the blocks.
        names: of the images.
        block: int32 (n,), the block of each image.
        offset: int64 (n,), of its first byte in the local file; of blocks with a table, its place in the block.
        length: int64 (n,), bytes; None for blocks with a table: int64 starts, and one end, in front of the images.
        window: blocks that fit into half of the cache; 0 if all of them do, so that every order is as fast as another.
        known: hash of each image file, uint8 (n, 16), where all have been decoded once without an error; else None.
        ranges: row → smallest and largest value of each 16-bit image, where `known` is.
    """

    files: BlockFiles
    names: Texts
    block: np.ndarray
    offset: np.ndarray
    length: np.ndarray | None
    window: int = 0
    known: np.ndarray | None = None
    ranges: Mapping[int, Span] | None = None

    def read(self, row: int) -> bytes:
        """Return the file of an image."""
        block = int(self.block[row])
        if self.length is not None:
            return self.files.read(block, int(self.offset[row]), int(self.length[row]))
        start, end = np.frombuffer(self.files.read(block, 8 * int(self.offset[row]), 16), "<i8").tolist()
        return self.files.read(block, start, end - start)


class ShardStore:
    """Some images of shards.

    Args:
        located: all images.
        rows: int64 (m,), which of them, in this order; None: all.
        depth: (low, high), the values of 16-bit images that become 0 and 255; None: 0 and 65535.

    Attributes:
        content: hash of each image file, uint8 (m, 16), once they have been checked.
    """

    def __init__(self, located: Located, rows: np.ndarray | None = None, depth: Span | None = None):
        self.located, self.depth = located, depth
        self._rows = np.arange(len(located.names)) if rows is None else np.asarray(rows, np.int64)
        self.content: np.ndarray | None = None if located.known is None else located.known[self._rows]
        self._held: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, i: int) -> str:
        """Return the name of image i."""
        return self.located.names[int(self._rows[i])]

    def open(self, i: int) -> EncodedImage:
        """Return image i, not decoded; raises BadImage for what is no image, DamagedShard or CannotRead for its shard."""
        row = int(self._rows[i])
        data = self._held.pop(row, None) if self._held else None
        return EncodedImage(self.located.names[row], self.located.read(row) if data is None else data, self.depth)

    def read(self, i: int) -> np.ndarray:
        """Return uint8 (h, w, 3) RGB; raises as `open` does."""
        return self.open(i).pixels()

    def take(self, indices: np.ndarray) -> ShardStore:
        """Return a store of these images, in this order."""
        taken = ShardStore(self.located, self._rows[indices], self.depth)
        taken.content = None if self.content is None else self.content[indices]
        return taken

    def with_depth(self, depth: Span | None) -> ShardStore:
        """Return the same images, with these values of 16-bit ones as 0 and 255."""
        store = self.take(np.arange(len(self)))
        store.depth = depth
        return store

    def knowing(self, digests: Mapping[str, bytes]) -> ShardStore:
        """Return the same images with the hash of each one's content, by name: 16 bytes."""
        store = self.take(np.arange(len(self)))
        store.content = content_of(map(self.name, range(len(self))), digests)
        return store

    def digests(self) -> Iterator[bytes]:
        """Yield the hashes of the contents if they are known, else where they lie."""
        if self.content is not None:
            return map(bytes, self.content)
        return self._places()

    def stamps(self) -> Iterator[bytes]:
        """Yield the hash of each content, or where it lies in which block, with the depth."""
        depth = b"" if self.depth is None else b"%d-%d" % self.depth
        return (part + depth for part in self.digests())

    def checked(self) -> tuple[dict[str, bytes], dict[str, Span]] | None:
        """Return name → hash of the content and name → 16-bit range if every image has been decoded when the shards were made."""
        if self.located.known is None or self.content is None:
            return None
        names = [self.name(i) for i in range(len(self))]
        ranges = self.located.ranges or {}
        deep = {names[i]: ranges[row] for i, row in enumerate(self._rows.tolist()) if row in ranges} if ranges else {}
        return dict(zip(names, map(bytes, self.content))), deep

    # --- Order: see `keras_transfer.data.images.protocols.BlockStore` ---

    @property
    def window(self) -> int:
        """Number of blocks whose images are shuffled together; 0: all."""
        return self.located.window

    @property
    def fetches(self) -> bool:
        """Whether blocks are fetched at all."""
        return self.located.files.cache is not None

    def blocks(self, rows: np.ndarray) -> np.ndarray:
        """Return the block of each of these images, int64 (m,)."""
        return np.asarray(self.located.block[self._rows[rows]], np.int64)

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """Return numbers that grow as images lie in their block, int64 (m,)."""
        return np.asarray(self.located.offset[self._rows[rows]], np.int64)

    def announce(self, owner: int, blocks: Sequence[int]) -> None:
        """Say which blocks a reader will need, in which order."""
        self.located.files.announce(owner, blocks)

    def gather(self, rows: np.ndarray) -> None:
        """Read these images now, at the same time, and hold their bytes until each is opened."""
        wanted = [row for row in self._rows[rows].tolist() if row not in self._held]
        if self.located.files.cache is None or len(wanted) < 2:
            return
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="kt-gather") as pool:
            self._held = dict(zip(wanted, pool.map(self.located.read, wanted)))

    def _places(self) -> Iterator[bytes]:
        blocks = self.located.files.blocks
        for row in self._rows.tolist():
            length = 0 if self.located.length is None else int(self.located.length[row])
            yield f"{blocks[int(self.located.block[row])].key}:{self.located.offset[row]}:{length},".encode()
