"""Work in threads ends before its next item when it is interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from keras_transfer.data.threads import each


def test_results_come_chunk_by_chunk():
    assert each(lambda i: i * 2, [range(3), [], range(3, 5)], 2, "t") == [[0, 2, 4], [], [6, 8]]


def test_an_error_stops_the_others():
    done = []

    def work(i):
        if i == 0:
            raise ValueError("first")
        time.sleep(0.02)
        done.append(i)

    with pytest.raises(ValueError, match="first"):
        each(work, [[i] for i in range(200)], 2, "t")
    time.sleep(0.2)
    assert len(done) < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(number):
    before = signal.signal(number, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            each(lambda _: time.sleep(0.05), [range(1000)] * 4, 2, "t")
    finally:
        signal.signal(number, before)
    assert time.monotonic() - began < 5
