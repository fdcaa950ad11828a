"""Turn Ctrl-C and SIGTERM into a request to stop at the next point where nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from keras_transfer.distribute import is_follower

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "stopping after the state is saved (press Ctrl-C again to stop immediately)"


class StopRequest:
    """Whether a stop was requested.

    Args:
        alone: whether this process may stop as soon as it wants to; otherwise the processes of a group agree first.

    Attributes:
        asked: whether to stop now.
        wanted: whether this process was told to stop.
    """

    def __init__(self, alone: bool = True) -> None:
        self.asked = self.wanted = False
        self._alone = alone

    def want(self) -> None:
        """Request a stop."""
        self.wanted = True
        self.asked |= self._alone


@contextmanager
def stop_on_request(alone: bool = True) -> Iterator[StopRequest]:
    """Turn the first signal inside the block into a stop request; the next one is handled as before.

    The previous handlers are restored with the first signal or at the end of the block. Ignored signals stay ignored.
    Outside the main thread nothing changes. ``alone``: see :class:`StopRequest`.
    """
    request = StopRequest(alone)
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def ask(*_: Any) -> None:
        request.want()
        restore()
        if is_follower():  # process 0 says it
            return
        # Starts a new line, as output may be incomplete; a failure to print must not end training.
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
        restore()
