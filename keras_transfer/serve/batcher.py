"""Requests that come one by one, computed in batches by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any


class Batcher:
    """Give whatever is waiting to a function, all at once, and hand each result to who asked for it.

    While the function works, requests gather; none waits for others to come. The function runs in one thread only.

    Args:
        run: takes a list of 1..``limit`` items and returns as many results. What it raises, all of them get.
        limit: most items at once.
    """

    def __init__(self, run: Callable[[list[Any]], Sequence[Any]], limit: int):
        self._run, self._limit = run, limit
        self._waiting: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """Queue an item; its result, or the error, comes in the future. One that is cancelled in time is not computed."""
        future: Future[Any] = Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Finish what is waiting and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        going = True
        while going:
            batch = [self._waiting.get()]
            while len(batch) < self._limit and not self._waiting.empty():  # nobody else takes anything out
                batch.append(self._waiting.get())
            going = None not in batch
            wanted = [one for one in batch if one is not None and one[1].set_running_or_notify_cancel()]
            if wanted:
                self._serve([item for item, _ in wanted], [future for _, future in wanted])

    def _serve(self, items: list[Any], futures: list[Future[Any]]) -> None:
        try:
            results = self._run(items)
        except Exception as error:
            for future in futures:
                future.set_exception(error)
        else:
            for future, result in zip(futures, results):
                future.set_result(result)
