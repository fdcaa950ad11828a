"""The Ray cluster: how it is reached, and how its processors are divided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.runtime import usable_cores
from keras_transfer.runtime.machine import keep_ray_silent

LOCAL = "local"
MOST_CORES = 4
"""Cores of a worker: more threads decode no faster than the model computes."""


@dataclass(frozen=True)
class Division:
    """How the processors of a cluster are divided.

    Attributes:
        cores: of each worker.
        workers: number of them that the cluster has room for.
    """

    cores: int
    workers: int


def require_ray(purpose: str = "--ray") -> Any:
    """Return the module ``ray``; raise MissingExtra if it is not installed."""
    keep_ray_silent()
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("ray", "ray", purpose) from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster inside the block, or start one on this machine; a process that is connected stays so.

    Args:
        address: ``"local"``, ``"auto"`` (the cluster that this machine belongs to) or ``HOST:PORT``.

    Raises:
        UserError: there is no cluster.
        MissingExtra: Ray is not installed.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "include_dashboard": False}
    if address == LOCAL:
        options["num_cpus"] = usable_cores()
    else:
        options = {**options, "address": address}
        del options["include_dashboard"]
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot reach a Ray cluster at {address} ({first}); start one with: ray start --head, or give --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def division(ray: Any) -> Division:
    """Divide the processors of the cluster among workers of equal size."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    sizes = [size for size in nodes if size > 0]
    if not sizes:
        raise UserError("the Ray cluster has no processors: give its nodes some with --num-cpus")
    cores = min(MOST_CORES, *sizes) if len(sizes) > 1 else min(MOST_CORES, sizes[0])
    return Division(cores, sum(size // cores for size in sizes))
