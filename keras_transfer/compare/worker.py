"""Train one run: ``python -m keras_transfer.compare.worker JOB.json``.

One process per run separates memory, backends and crashes. The worker saves its state and stops when its standard
input is closed, either by the comparison or because that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_transfer import text
from keras_transfer.compare.plan import RunRequest
from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from keras_transfer.runs import RunDirectory


def main(path: str) -> int:
    """Run the job described by the JSON file at ``path``; return the exit status.

    The job has ``asked``, ``run`` (directory), ``accept_changes``, ``lock`` (a file) and ``problem``: the file for
    the message of a ``UserError``.
    """
    _stop_with_parent()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        # Wait for the worker of a killed comparison, which is saving its state.
        with FileLock(job["lock"]):
            _train(job)
    except UserError as error:
        Path(job["problem"]).write_text(str(error), encoding="utf-8")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _train(job: dict[str, Any]) -> None:
    from keras_transfer.training.train import resume_run, train

    run, request = RunDirectory(job["run"]), RunRequest(**job["asked"])
    if run.is_finished():
        return
    say = text.complain  # standard output belongs to the comparison
    if run.config.is_file():
        run = resume_run(run.path)
        config = run.read_config()
        train(config, device=request.device, resume=run, accept_changes=job["accept_changes"], say=say)
    else:
        train(request.to_config(job["run"]), device=request.device, say=say)


def _stop_with_parent() -> None:
    """Send this process SIGTERM when standard input is closed."""

    def watch() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
