"""Batch concurrent requests in one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any


class Batcher:
    """Call a function with all waiting items at once, and return each result to its caller.

    Items queue up while the function runs; no item waits for others to arrive. The function runs in a single thread.

    Args:
        compute: function from a list of 1..``limit`` items to as many results. An exception is passed on to all of
            them.
        limit: maximum batch size.
    """

    def __init__(self, compute: Callable[[list[Any]], Sequence[Any]], limit: int):
        self._compute, self._limit = compute, limit
        self._waiting: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """Queue an item; the future gets its result or the exception. An item cancelled in time is not computed."""
        future: Future[Any] = Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Process the waiting items and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        running = True
        while running:
            batch = [self._waiting.get()]
            while len(batch) < self._limit and not self._waiting.empty():  # no other thread removes items
                batch.append(self._waiting.get())
            running = None not in batch
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
