"""How a batch lies on the devices of several processes: where its images are among those that fill it up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_transfer.distribute.shard import Shard


@dataclass(frozen=True)
class Part:
    """What is computed at once of a batch. Every process has equally many rows of it; some only fill it up.

    Attributes:
        rows: int64 (m,), the rows of this process's share that it computes, m the same in all processes; what fills up repeats some.
        images: int32 (n,), where the images are among the rows of all processes, in the order of the batch.
        source: int32 (processes × m,), for each of those rows an image of the part: its own, or for what fills up any.
    """

    rows: np.ndarray
    images: np.ndarray
    source: np.ndarray


def parts_of_share(images: int, shard: Shard, devices: int, size: int) -> Iterator[Part]:
    """Yield the parts of a batch: the same number of them in every process.

    Args:
        images: in the whole batch.
        shard: of this process; its share has at least one row (:meth:`~keras_transfer.distribute.shard.Shard.rows`).
        devices: of each process, by which its rows have to divide.
        size: most images that are computed at once, in all processes together.
    """
    counts = [end - start for start, end in (Shard(rank, shard.size).bounds(images) for rank in range(shard.size))]
    mine = max(1, counts[shard.rank])
    share, step = _up(max(counts), devices), _up(-(-size // shard.size), devices)
    for first in range(0, share, step):
        local = np.arange(first, min(first + step, share))
        places = [rank * len(local) + np.flatnonzero(local < count) for rank, count in enumerate(counts)]
        chosen = np.concatenate(places).astype(np.int32)
        source = np.zeros(shard.size * len(local), np.int32)
        source[chosen] = np.arange(len(chosen))
        yield Part(local % mine, chosen, source)


def _up(count: int, divisor: int) -> int:
    """Return the least multiple of a number that is not less."""
    return -(-count // divisor) * divisor
