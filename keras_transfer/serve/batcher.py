"""Batch concurrent requests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any


class Batcher:
    """Call a function with all waiting items at once, and return each result to its caller.

    Items queue up while the function runs; no item waits for others to arrive.

    Args:
        compute: function from a list of 1..``limit`` items to as many results. An exception is passed on to all of
            them.
        limit: maximum batch size.
        threads: how many batches may be computed at the same time.
    """

    def __init__(self, compute: Callable[[list[Any]], Sequence[Any]], limit: int, threads: int = 1):
        self._compute, self._limit = compute, limit
        self._waiting: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="batcher", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """Queue an item; the future gets its result or the exception. An item cancelled in time is not computed."""
        future: Future[Any] = Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Process the waiting items and stop."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        running = True
        while running:
            batch = [self._waiting.get()]
            with suppress(queue.Empty):
                while len(batch) < self._limit and batch[-1] is not None:
                    batch.append(self._waiting.get_nowait())
            running = batch[-1] is not None
            wanted = [one for one in batch if one is not None and one[1].set_running_or_notify_cancel()]
            if wanted:
                self._finish([item for item, _ in wanted], [future for _, future in wanted])

    def _finish(self, items: list[Any], futures: list[Future[Any]]) -> None:
        try:
            results = self._compute(items)
        except Exception as error:
            for future in futures:
                future.set_exception(error)
        else:
            for future, result in zip(futures, results):
                future.set_result(result)
