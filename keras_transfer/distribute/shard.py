"""The share of every batch that one of several processes loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # see group.py
    import numpy as np


@dataclass(frozen=True)
class Shard:
    """A contiguous share of every batch; the shares of all processes are the batch, and differ by at most one sample.

    Attributes:
        rank: number of the process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole batch."""
        return self.size == 1

    def bounds(self, count: int) -> tuple[int, int]:
        """Return where the share of a batch of ``count`` samples begins and ends; both are equal if nothing is left for it."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size

    def rows(self, count: int) -> slice:
        """Return the rows of the share: at least one, as a model cannot compute none; see :meth:`bounds` for how many count."""
        start, end = self.bounds(count)
        if start == end:
            start = min(start, count - 1)
        return slice(start, max(end, start + 1))

    def of(self, positions: np.ndarray) -> np.ndarray:
        """Return the positions in the share of a batch, int64 (m,), m at least 1."""
        return positions[self.rows(len(positions))]


WHOLE = Shard()
"""The share of a process that loads alone."""
