"""What the processes of a training do together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from keras_transfer.distribute.shard import Shard

if TYPE_CHECKING:  # the command line imports this package, and shall not wait for NumPy
    import numpy as np

T = TypeVar("T")


class Group:
    """The processes of a training; this class is that of a process alone, and the engines' classes extend it.

    Every process calls the same methods in the same order.

    Args:
        kind: ``"none"`` or ``"data_parallel"``.
        why: the reason, for the log.
        rank: number of this process, from 0.
        size: number of processes.
        parts: into how many parts the engine divides a batch: processes, or devices of all processes.
    """

    def __init__(self, kind: str = "none", why: str = "one process", rank: int = 0, size: int = 1, parts: int = 1):
        self.kind, self.why = kind, why
        self.rank, self.size, self.parts = rank, size, parts

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def divides(self) -> bool:
        """Whether batches are divided at all."""
        return self.parts > 1

    @property
    def shard(self) -> Shard:
        """What of every batch this process loads."""
        return Shard(self.rank, self.size)

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in process 0, where alone it is called; the others wait for it.

        What it raises is raised in all of them. Values travel pickled, and only within the group.
        """
        return make()

    def gather(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the rows of all processes in the order of their numbers in process 0, None in the others."""
        return rows

    def all(self, flag: bool) -> bool:
        """Return whether it is true in all processes."""
        import numpy as np

        return bool(self.sum([np.array([float(not flag)])])[0][0] == 0)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which models are built and trained."""
        return contextlib.nullcontext()

    def main_first(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in this process; the others begin when process 0 has finished, and find what it has stored."""
        made: list[T] = []
        self.from_main(lambda: made.append(make()))
        return made[0] if made else make()

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sums of arrays over the processes."""
        return arrays

    def explain(self, error: BaseException) -> str | None:
        """Return what happened to another process if ``error`` tells of one, else None."""
        return None

    def close(self) -> None:
        """Leave the group, after all have come to the end."""


ALONE = Group()
"""A process that trains alone."""
