"""Processes on jax: one computation over the devices of all, and a connection of each process with process 0 for everything else."""

from __future__ import annotations

import atexit
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from keras_transfer.distribute.connect import coordinator
from keras_transfer.distribute.group import Group, T
from keras_transfer.distribute.lost import Member, describe_lost, this_member
from keras_transfer.distribute.outcome import outcome, result
from keras_transfer.distribute.place import Place

LEAVING = 5.0
"""Seconds that process 0, which the others lean on, waits for them at its end."""
_KEY = 32
_SIGNS = (
    "gloo",
    "nccl",
    "connection closed",
    "connection reset",
    "broken pipe",
    "socket timeout",
    "socket closed",
    "coordination service",
)


class JaxGroup(Group):
    """The processes of ``jax.distributed``, which :func:`~keras_transfer.distribute.connect.connect` has joined.

    jax's own collectives give up after a while; over the connections, a process waits for process 0 as long as that takes, and notices at
    once if it ends.

    Args:
        here: the place of this process.
    """

    def __init__(self, here: Place):
        why = f"{here.size} processes of {here.launcher}"
        if jax.device_count() != here.size:
            why += f", {jax.device_count()} devices"
        super().__init__("data_parallel", why, here.rank, here.size, jax.device_count())
        self._connections = _connected(here)
        members = self._collect(this_member())
        self._members: list[Member] = self.from_main(lambda: members or [])
        atexit.register(self._leave)  # before jax's own, which would end the processes that are still connected

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in process 0, or raise what it raises there."""
        found: Any
        if self.is_main:
            found = outcome(make)
            for connection in self._connections:
                connection.send(found)
        else:
            found = self._connections[0].recv()
        made: T = result(found, self.is_main)
        return made

    def gather(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the rows of all processes in process 0."""
        found = self._collect(rows)
        return None if found is None else np.concatenate(found)

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sums of arrays over the processes."""
        found = self._collect([np.asarray(array) for array in arrays])
        return self.from_main(lambda: [np.sum(parts, axis=0, dtype=parts[0].dtype) for parts in zip(*(found or []))])

    def explain(self, error: BaseException) -> str | None:
        """Return which processes are gone if ``error``, or what it followed, comes from a broken connection."""
        each: BaseException | None = error
        while each is not None:
            said = str(each).lower()
            if isinstance(each, (EOFError, ConnectionError)) or any(sign in said for sign in _SIGNS):
                return describe_lost(self._members, each)
            each = each.__cause__ or each.__context__
        return None

    def close(self) -> None:
        """Wait for the others, then leave the group."""
        self.sum([np.zeros(1)])
        self._leave()

    def _collect(self, mine: Any) -> list[Any] | None:
        """Return what every process gives, in the order of their numbers, in process 0."""
        if self.is_main:
            return [mine, *(connection.recv() for connection in self._connections)]
        self._connections[0].send(mine)
        return None

    def _leave(self) -> None:
        """End jax's connections, process 0 last: those that lose theirs are aborted by jax."""
        atexit.unregister(self._leave)
        connections, self._connections = self._connections, []
        with suppress(Exception):
            if self.is_main:
                for connection in connections:  # whoever waits for this process, after an error, waits no longer
                    with suppress(OSError):
                        connection.send((None, ConnectionError("process 0 has left")))
                end = time.monotonic() + LEAVING
                for connection in connections:
                    _wait_for_end(connection, end)
            jax.distributed.shutdown()
        for connection in connections:
            with suppress(OSError):
                connection.close()


def _connected(here: Place) -> list[Connection]:
    """Return the connections of this process: with all others in process 0, with process 0 in the others."""
    if here.rank:
        port, key = _told(0, bytes(_KEY))
        return [_introduced(Client((coordinator(here).rpartition(":")[0].strip("[]"), port), authkey=key), here.rank)]
    found: dict[int, Connection] = {}
    key = secrets.token_bytes(_KEY)
    with Listener(("", 0), backlog=here.size, authkey=key) as listener:
        _told(listener.address[1], key)  # type: ignore[arg-type]  # of a socket
        while len(found) < here.size - 1:
            with suppress(AuthenticationError, EOFError):  # somebody else
                connection = listener.accept()
                found[connection.recv()] = connection
    return [found[rank] for rank in sorted(found)]


def _told(port: int, key: bytes) -> tuple[int, bytes]:
    """Return process 0's port and key in all processes: only who has joined jax's group learns the key."""
    mine = np.frombuffer(port.to_bytes(4, "big") + key, np.uint8)
    told = np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes()
    return int.from_bytes(told[:4], "big"), told[4:]


def _introduced(connection: Connection, rank: int) -> Connection:
    connection.send(rank)
    return connection


def _wait_for_end(connection: Connection, end: float) -> None:
    """Wait until the other side has closed a connection, reading what is left in it."""
    with suppress(EOFError, OSError):
        while connection.poll(max(0.0, end - time.monotonic())):
            connection.recv_bytes()


__all__ = ["JaxGroup"]
