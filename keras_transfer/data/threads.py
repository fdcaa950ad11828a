"""Work in threads that ends at once when it is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], chunks: Sequence[Iterable[T]], threads: int, name: str) -> list[list[R]]:
    """Call ``work`` with every item of every chunk; return the results chunk by chunk.

    If a call raises, or the caller is interrupted (Ctrl-C, SIGTERM), the threads stop before their next item, and what has
    not begun is cancelled. A pool left by its ``with`` block would finish everything first.

    Args:
        work: called in threads.
        chunks: a task each; an item should take long enough to be worth an interruption.
        threads: number of threads, at least 1.
        name: prefix of their names.
    """
    stop = threading.Event()

    def run(chunk: Iterable[T]) -> list[R]:
        found = []
        for item in chunk:
            if stop.is_set():
                break
            found.append(work(item))
        return found

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        return list(pool.map(run, chunks))
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=not stop.is_set(), cancel_futures=True)
