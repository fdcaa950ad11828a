"""The same study on a Ray cluster: every worker is a task that takes trials until there are enough."""

from __future__ import annotations

from collections.abc import Callable

from keras_transfer.batch.cluster import connected, division
from keras_transfer.errors import UserError
from keras_transfer.typing import Say

_SECONDS = 2.0
"""Between two looks at what is done."""


def run_on_ray(address: str, take: Callable[[], object], look: Callable[[], None], say: Say) -> None:
    """Run a sweep in as many processes as the cluster has room for; returns when all of them have ended.

    A task whose node is lost is started again on another; its trial is tried again like that of any process that ended.

    Args:
        address: see :func:`keras_transfer.batch.cluster.connected`.
        take: takes trials from the study until there are enough; can be pickled.
        look: is called every few seconds, and says what is new.
        say: prints a line.

    Raises:
        UserError: a cluster that is not there, or what ``take`` raises.
    """
    with connected(address) as ray:
        divided = division(ray)
        say(f"ray: up to {divided.workers} trials at once, with {divided.cores} cores each")
        task = ray.remote(_take).options(num_cpus=divided.cores, max_retries=-1)
        left = [task.remote(take) for _ in range(divided.workers)]
        while left:
            done, left = ray.wait(left, timeout=_SECONDS)
            look()
            for problem in filter(None, ray.get(done)):
                raise UserError(problem)


def _take(take: Callable[[], object]) -> str:
    """Take trials in a process of the cluster; return what the user can fix, or nothing."""
    try:
        take()
    except UserError as error:
        return str(error)
    return ""
