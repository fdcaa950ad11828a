"""Ctrl-C and SIGTERM as a request that training grants at the next moment at which nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "stopping as soon as the state is saved (a second Ctrl-C stops at once)"


class StopRequest:
    """Whether somebody asked training to stop."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.asked = False


@contextmanager
def stop_on_request() -> Iterator[StopRequest]:
    """Take the first signal inside the block as a request; the next one does what it would have done before.

    The old handlers come back with the first signal or at the end of the block. Outside of the main thread, signals are
    the caller's business; one that is ignored stays ignored.
    """
    request = StopRequest()
    before: dict[signal.Signals, Any] = {}

    def put_back() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def ask(*_: Any) -> None:
        request.asked = True
        put_back()
        # The signal may have come in the middle of another line; not being able to say it must not end training.
        with suppress(OSError, ValueError, RuntimeError):
            print(f"\n{NOTICE}", file=sys.stderr, flush=True)

    if threading.current_thread() is threading.main_thread():
        before = {kind: signal.getsignal(kind) for kind in SIGNALS}
        before = {kind: handler for kind, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        for kind in before:
            signal.signal(kind, ask)
    try:
        yield request
    finally:
        put_back()
