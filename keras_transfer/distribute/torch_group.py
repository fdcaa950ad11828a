"""Processes on torch: a process group, gloo between CPUs and NCCL between GPUs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from keras_transfer.distribute.group import Group, T
from keras_transfer.distribute.lost import Member, describe_lost, this_member
from keras_transfer.distribute.outcome import outcome, result
from keras_transfer.distribute.place import Place

STEP = timedelta(minutes=30)
"""How long a process waits for the others within a step: process 0 may be writing meanwhile."""
WAIT = timedelta(hours=24)
"""How long the others wait while process 0 works alone. If it dies, they notice at once: the connection closes."""
_SIGNS = ("gloo", "nccl", "connection closed by peer", "connection reset", "broken pipe", "socket timeout", "store")


class TorchGroup(Group):
    """The processes that ``torchrun`` started.

    Args:
        here: the place of this process.
        device: ``"cpu"`` or ``"gpu"``.
    """

    def __init__(self, here: Place, device: str):
        super().__init__("data_parallel", f"{here.size} processes of {here.launcher}", here.rank, here.size, here.size)
        backend = "cpu:gloo,cuda:nccl" if device == "gpu" else "gloo"
        dist.init_process_group(backend, timeout=STEP)
        self._patient = dist.new_group(backend="gloo", timeout=WAIT)
        self._members: list[Member] = [("", 0)] * here.size
        dist.all_gather_object(self._members, this_member(), group=self._patient)

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in process 0, or raise what it raises there."""
        found: list[Any] = [outcome(make) if self.is_main else None]
        dist.broadcast_object_list(found, src=0, group=self._patient)
        made: T = result(found[0], self.is_main)
        return made

    def gather(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the rows of all processes in process 0."""
        found: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(rows, found, dst=0, group=self._patient)
        return np.concatenate(found) if found is not None else None

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sums of arrays over the processes."""
        found = []
        for array in arrays:
            tensor = torch.from_numpy(np.array(array))
            dist.all_reduce(tensor, group=self._patient)
            found.append(tensor.numpy())
        return found

    def explain(self, error: BaseException) -> str | None:
        """Return which processes are gone if ``error`` comes from a broken connection."""
        known = isinstance(error, getattr(dist, "DistError", RuntimeError))
        said = str(error).lower()
        if not isinstance(error, RuntimeError) or not (known or any(sign in said for sign in _SIGNS)):
            return None
        return describe_lost(self._members, error)

    def close(self) -> None:
        """Wait for the others, then leave the group."""
        self.from_main(lambda: None)
        dist.destroy_process_group()
