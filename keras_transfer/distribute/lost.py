"""Which processes of a training have ended, found out after a connection broke."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

Member = tuple[str, int]
"""Host and process id of a process of a training."""


def this_member() -> Member:
    """Return host and id of this process."""
    return socket.gethostname(), os.getpid()


def describe_lost(members: Sequence[Member], error: BaseException) -> str:
    """Return which processes are no more, for a message.

    Args:
        members: of the training, in the order of their numbers.
        error: what broke.
    """
    gone = _gone(members)
    for _ in range(20):  # the connection may close before the process has ended
        if gone:
            break
        time.sleep(0.1)
        gone = _gone(members)
    if not gone:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"a process of another machine has ended, or does not answer ({said})"
    named = " and ".join(f"process {rank} of {len(members)} (pid {members[rank][1]})" for rank in gone)
    return f"{named} {'has' if len(gone) == 1 else 'have'} ended"


def _gone(members: Sequence[Member]) -> list[int]:
    """Return the processes of this machine that are no more."""
    here = socket.gethostname()
    return [rank for rank, (host, pid) in enumerate(members) if host == here and not _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and that its parent has not yet noticed does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.parent.is_dir() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except (OSError, IndexError):
        return True
