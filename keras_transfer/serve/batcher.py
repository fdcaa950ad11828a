"""Batch concurrent requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any


class Batcher:
    """Call a function with many waiting items at once, and return each result to its caller.

    Items queue up while the function runs; no item waits for others to arrive.

    Args:
        compute: function from a list of items to as many results. An exception is passed on to all of them.
        sizes: of batches, ascending, the first of them 1: as many items are taken as the largest that they fill.
        threads: how many batches may be computed at the same time.
    """

    def __init__(self, compute: Callable[[list[Any]], Sequence[Any]], sizes: Sequence[int], threads: int = 1):
        self._compute, self._sizes = compute, sizes
        self._waiting: deque[tuple[Any, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name="batcher", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """Queue an item; the future gets its result or the exception. An item cancelled in time is not computed."""
        future: Future[Any] = Future()
        with self._changed:
            self._waiting.append((item, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Process the waiting items and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            wanted = [one for one in batch if one[1].set_running_or_notify_cancel()]
            if wanted:
                self._finish([item for item, _ in wanted], [future for _, future in wanted])

    def _next(self) -> list[tuple[Any, Future[Any]]]:
        """Wait for items, and take them; none at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            count = max((size for size in self._sizes if size <= len(self._waiting)), default=0)
            return [self._waiting.popleft() for _ in range(count)]

    def _finish(self, items: list[Any], futures: list[Future[Any]]) -> None:
        try:
            results = self._compute(items)
        except Exception as error:
            for future in futures:
                future.set_exception(error)
        else:
            for future, result in zip(futures, results):
                future.set_result(result)
