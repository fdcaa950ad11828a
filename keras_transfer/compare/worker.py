"""Train one run in a process of its own; run as ``python -m keras_transfer.compare.worker JOB.json``.

A process a run keeps memory, backend and crashes apart. It stops, with its state saved, when its standard input is closed:
by the comparison, which is told to stop, or because that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_transfer.compare.plan import Asked
from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from keras_transfer.runs import RunDirectory


def main(path: str) -> int:
    """Do the job described by the JSON file at ``path``; return the exit status.

    The job has ``asked``, ``run`` (directory), ``accept_changes``, ``lock`` (a file) and ``problem``: a file that gets the text
    of what the user can mend.
    """
    _stop_with_parent()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        # One at a time: another one is a process whose comparison was killed, which is about to save its state and end.
        with FileLock(job["lock"]):
            _train(job)
    except UserError as error:
        Path(job["problem"]).write_text(str(error), encoding="utf-8")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _train(job: dict[str, Any]) -> None:
    from keras_transfer.pipeline import train
    from keras_transfer.training.train import resume_run

    run, asked = RunDirectory(job["run"]), Asked(**job["asked"])
    if run.is_finished():
        return
    say = partial(print, file=sys.stderr, flush=True)  # standard output is for the comparison's own result
    if run.config.is_file():
        run = resume_run(run.path)
        config = run.read_config()
        train(config, device=asked.device, resume=run, accept_changes=job["accept_changes"], say=say)
    else:
        train(asked.read(job["run"]), device=asked.device, say=say)


def _stop_with_parent() -> None:
    """Ask this process to stop, as SIGTERM does, at the end of standard input."""

    def watch() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
