"""Start several processes on this machine, wait for them, and end the others when one fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from keras_transfer import text
from keras_transfer.distribute.connect import ADDRESS
from keras_transfer.errors import EXIT_FAILED, EXIT_INTERRUPTED
from keras_transfer.runtime.resources import share_threads

_EXPLAINS = 8.0
"""Seconds in which the others may say that a process has ended, and which."""
_SAVES = 30.0
"""Seconds in which a process may end by itself after SIGTERM."""
_LOOK = 0.1


def run_processes(count: int, words: Sequence[str], run: str | None = None) -> int:
    """Run Python with the same arguments in several processes, which find each other by Keras's variables for jax.

    Ctrl-C and SIGTERM are passed on, and the processes stop when they have saved their state.

    Args:
        count: number of processes.
        words: arguments of Python.
        run: the run directory, where it is known, for messages.

    Returns:
        The exit status: that of the first process that failed, or 0.
    """
    share_threads(count)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    common = {
        ADDRESS: f"localhost:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    processes = []
    for rank in range(count):
        own = {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank), "LOCAL_RANK": str(rank)}
        # In a session of its own, so that Ctrl-C comes once, from here.
        processes.append(
            subprocess.Popen([sys.executable, *words], env={**os.environ, **common, **own}, start_new_session=True)
        )
    try:
        with _signals_passed_on(processes) as stopped:
            return _wait(processes, run, stopped)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()


def _wait(processes: Sequence[subprocess.Popen[bytes]], run: str | None, stopped: list[int]) -> int:
    """Wait for all processes; when one has failed, give the others time to say so, then end them."""
    while not (failed := [rank for rank, process in enumerate(processes) if process.poll()]):
        if all(process.returncode == 0 for process in processes):
            return 0
        time.sleep(_LOOK)
    time.sleep(_LOOK)  # jax aborts what has lost process 0: that is not what failed first
    failed = [rank for rank, process in enumerate(processes) if process.poll()]
    first = min(failed, key=lambda rank: processes[rank].returncode == -signal.SIGABRT)
    _let_end(processes, _SAVES if stopped else _EXPLAINS)
    for process in processes:
        if process.poll() is None:
            process.terminate()
    _let_end(processes, _SAVES)
    status = processes[first].returncode
    if status > 0:
        return status
    if stopped and -status in (signal.SIGINT, signal.SIGTERM):
        return EXIT_INTERRUPTED
    said = f"error: process {first} of {len(processes)} (pid {processes[first].pid}) was ended by {signal.Signals(-status).name}"
    if first == 0:  # which could not say it
        again = f"keras-transfer train --resume --output {run or 'RUN'} --processes {len(processes)}"
        said += f"; what was saved is kept: go on with: {again}"
    text.complain(said)
    return EXIT_FAILED


def _let_end(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait until all processes have ended, at most so long."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(_LOOK)


@contextmanager
def _signals_passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass Ctrl-C and SIGTERM on to all processes; yield a list of those that came."""
    came: list[int] = []

    def pass_on(number: int, _: object) -> None:
        came.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {kind: signal.signal(kind, pass_on) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
