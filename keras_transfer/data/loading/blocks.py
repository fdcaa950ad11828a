"""The order of an epoch over images that lie in blocks, such as shards, and which blocks are fetched ahead of it.

Where all blocks can be kept, the order is that of any other data: a permutation of all images. Where they cannot, the blocks are shuffled,
and the images of so many blocks in a row as fit into half of the cache are shuffled together. Both depend on the seed and the epoch alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np

from keras_transfer.data import rng
from keras_transfer.data.dataset import Split
from keras_transfer.data.images.protocols import BlockStore, new_owner


class BlocksAhead:
    """Tells the images of a split which blocks a loader will need; does nothing where none are fetched.

    Args:
        split: the samples.
    """

    def __init__(self, split: Split):
        images = split.samples.images
        self.split = split
        self._images = images if isinstance(images, BlockStore) else None
        self._owner = new_owner()
        self._plans: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._said: tuple[int, int, bool] | None = None
        if self._images is not None and self._images.fetches:
            weakref.finalize(self, self._images.announce, self._owner, [])

    def shuffled(self, served: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Return the order of an epoch, int64 (m,), a permutation of the places in `served`.

        Args:
            served: positions in the split, int64 (m,).
            seed: of the order.
            epoch: its number.
        """
        order = rng.permutation(len(served), seed, rng.ORDER, epoch)
        if self._images is None or not self._images.window or not len(served):
            return order
        present, number = np.unique(self._images.blocks(self.split.indices[served]), return_inverse=True)
        turn = np.empty(len(present), np.int64)
        turn[rng.permutation(len(present), seed, rng.BLOCKS, epoch)] = np.arange(len(present))
        groups = turn[number] // self._images.window
        return np.asarray(order[np.argsort(groups[order], kind="stable")])

    def at(self, order: Callable[[int], np.ndarray], epoch: int, position: int, again: bool) -> None:
        """Note that the batch at this position of an epoch is wanted.

        Args:
            order: returns the positions in the split in the order of an epoch.
            epoch: its number.
            position: place of the first image of the batch in that order.
            again: whether another epoch follows in another order.
        """
        images = self._images
        if images is None or not images.fetches:
            return
        blocks, last = self._plan(order, epoch)
        left = blocks[last >= position]
        # The first blocks of the next epoch follow when what is left of this one fits beside them.
        further = again and 0 < images.window >= len(left)
        if self._said == (epoch, len(left), further):
            return
        self._said = (epoch, len(left), further)
        ahead = left.tolist()
        if further:
            ahead += self._plan(order, epoch + 1)[0][: images.window].tolist()
        images.announce(self._owner, list(dict.fromkeys(ahead)))

    def close(self) -> None:
        """Need nothing any more."""
        if self._images is not None and self._images.fetches:
            self._images.announce(self._owner, [])

    def _plan(self, order: Callable[[int], np.ndarray], epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks of an epoch in the order in which they are needed first, and where each is needed last."""
        if epoch not in self._plans:
            assert self._images is not None
            sequence = self._images.blocks(self.split.indices[order(epoch)])
            blocks, first = np.unique(sequence, return_index=True)
            last = len(sequence) - 1 - np.unique(sequence[::-1], return_index=True)[1]
            turn = np.argsort(first)
            self._plans = {key: plan for key, plan in self._plans.items() if key >= epoch - 1}
            self._plans[epoch] = blocks[turn], last[turn]
        return self._plans[epoch]
