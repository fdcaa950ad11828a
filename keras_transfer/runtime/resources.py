"""The processors and the memory that this process may use: those of its container and its affinity, not those of the machine.

A container's limits are those of its control groups (``cgroups(7)``), of version 1 or 2: a process that computes in more threads than its
quota allows is stopped for part of every period, and one that takes more memory is killed.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.runtime.machine import meminfo

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_SPINS = "3000"
"""How often a thread of OpenMP looks for work before it sleeps: microseconds, where GNU's default is a millisecond."""


def usable_cores() -> int:
    """Return the number of processors: those of the affinity (``taskset``, cpusets), or fewer by the quota of a control group."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(found, _quota())))


def usable_memory() -> int | None:
    """Return how many bytes may still be taken: what is available on the machine, or less by a control group; None if unknown."""
    found = [value for value in (meminfo("MemAvailable"), *_left_in_groups()) if value is not None]
    return max(0, min(found)) if found else None


def set_thread_variables(backend: str) -> None:
    """Set the variables by which frameworks choose their threads; they read them when they are imported.

    Threads that wait for each other by spinning, as those of OpenMP do by default, keep a processor from whoever computes on it: with one
    busy neighbour on two processors, torch trains at a third of its speed. Threads that sleep at once lose nothing that can be measured.
    What the user has set is kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = _SPINS  # GNU's, which torch for Linux has
    cores = usable_cores()
    if cores < (os.cpu_count() or 1):
        for name in _THREADS[backend]:
            os.environ.setdefault(name, str(cores))


def share_threads(processes: int) -> None:
    """Have each of several processes, started from now on, compute in its share of the processors, unless the user has said otherwise."""
    for name in {*_THREADS["torch"], *_THREADS["jax"]}:
        os.environ.setdefault(name, str(max(1, usable_cores() // processes)))


def limit_threads(backend: str) -> None:
    """Have torch compute in no more threads than there are usable processors, also where something else has imported it before."""
    if backend == "torch":
        import torch

        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


_THREADS = {
    "torch": ("OMP_NUM_THREADS",),
    "tensorflow": ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    "jax": ("NPROC",),  # XLA's own, for its pool of threads
}


def _quota() -> float:
    """Return the processors that the control groups grant, infinity if they do not limit them."""
    smallest = math.inf
    for folder in _folders("cpu"):
        quota, period = _numbers(folder / "cpu.max", 2)
        if quota is None:
            (quota,), (period,) = _numbers(folder / "cpu.cfs_quota_us", 1), _numbers(folder / "cpu.cfs_period_us", 1)
        if quota and period and quota > 0:
            smallest = min(smallest, quota / period)
    return smallest


def _left_in_groups() -> Iterator[int]:
    """Yield what every control group that limits memory has left, in bytes; files that can be read again count as free."""
    for folder in _folders("memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            (limit,), (used,) = _numbers(folder / limit_name, 1), _numbers(folder / used_name, 1)
            if limit is not None and used is not None and limit < sys.maxsize // 2:
                yield limit - used + _cached(folder)


def _cached(folder: Path) -> int:
    """Return the bytes of files in a group's memory that the kernel drops when it needs them."""
    try:
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        values = {fields[0]: int(fields[1]) for fields in lines if len(fields) == 2}
    except (OSError, ValueError):
        return 0
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, from its own up to the root: each of them may set a limit."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        top = _GROUPS / controller if names else _GROUPS
        # In a container that sees only its own group, the path is that of the host and is not found: the root is the group then.
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder
            if folder == top:
                break


def _numbers(path: Path, count: int) -> list[int | None]:
    """Return the whole numbers in a file, None for what is not one (``max``), or for all if there is no such file."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    return [int(word) if word.lstrip("-").isdigit() else None for word in [*words, *[""] * count][:count]]
