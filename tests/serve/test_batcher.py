from __future__ import annotations

import threading

import pytest

from keras_transfer.serve.batcher import Batcher


def test_waiting_items_are_batched_and_each_gets_its_own_result():
    seen, gate = [], threading.Event()

    def run(items):
        gate.wait(10)
        seen.append(list(items))
        return [item * 10 for item in items]

    batcher = Batcher(run, (1, 2, 4))
    futures = [batcher.submit(i) for i in range(12)]
    gate.set()
    assert [future.result(10) for future in futures] == [i * 10 for i in range(12)]
    assert [item for items in seen for item in items] == list(range(12))
    first, *others = map(len, seen)  # the first was taken while the others came
    assert first in (1, 2, 4) and others == {1: [4, 4, 2, 1], 2: [4, 4, 2], 4: [4, 4]}[first]
    batcher.close()


def test_an_exception_reaches_only_the_items_of_its_batch():
    def run(items):
        if "bad" in items:
            raise ValueError("no")
        return items

    batcher = Batcher(run, (1,))
    bad, good = batcher.submit("bad"), batcher.submit("good")
    with pytest.raises(ValueError, match="no"):
        bad.result(10)
    assert good.result(10) == "good"
    batcher.close()


def test_cancelled_items_are_skipped_and_closing_processes_the_rest():
    seen, begun, gate = [], threading.Event(), threading.Event()

    def run(items):
        begun.set()
        gate.wait(10)
        seen.extend(items)
        return items

    batcher = Batcher(run, (1,))
    futures = [batcher.submit(i) for i in range(3)]
    begun.wait(10)
    assert futures[1].cancel()
    gate.set()
    batcher.close()
    assert seen == [0, 2] and futures[2].result(0) == 2
