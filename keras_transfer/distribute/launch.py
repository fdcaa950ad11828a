"""Start the processes of a training on this machine: on torch with its elastic launcher (what ``torchrun`` runs)."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
import uuid
from collections.abc import Sequence

from keras_transfer import text
from keras_transfer.errors import EXIT_FAILED, EXIT_INTERRUPTED, UserError
from keras_transfer.runtime.resources import share_threads


def launch(processes: int, words: Sequence[str], backend: str, run: str | None = None) -> int:
    """Run ``keras-transfer`` with the same words in several processes, and wait for them.

    Args:
        processes: number of processes.
        words: arguments of the command line.
        backend: Keras backend that they will run on.
        run: the run directory, where it is known, for messages.

    Returns:
        The exit status: that of the first process that failed, or 0.

    Raises:
        UserError: the backend trains in one process, or is not installed.
    """
    if backend == "tensorflow":
        raise UserError(
            "--processes is for torch and jax; tensorflow uses all devices of a machine in one process: leave it out"
        )
    if backend == "jax":
        from keras_transfer.distribute.local import run_processes

        return run_processes(processes, ["-m", "keras_transfer", *words], run)
    if importlib.util.find_spec("torch") is None:
        raise UserError('--processes needs torch: pip install "keras_transfer[torch]"')
    share_threads(processes)
    logging.disable(logging.CRITICAL)  # in this process, which only waits: what failed is said below, in one line
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(settings, sys.executable)("-m", "keras_transfer", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            text.complain(
                f"error: process {rank} of {processes} (pid {failure.pid}) was ended by {failure.signal_name()}"
            )
            return EXIT_FAILED
        return int(failure.exitcode)
    except SignalException as stop:
        return EXIT_INTERRUPTED if stop.sigval in (signal.SIGINT, signal.SIGTERM) else EXIT_FAILED
    return 0
