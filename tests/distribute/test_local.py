"""Processes of a machine: what one of them fails with is the status of all, and none is left."""

from __future__ import annotations

import time

import pytest

from keras_transfer.distribute.local import run_processes

RANK = "import os, sys, time, signal; rank = int(os.environ['KERAS_DISTRIBUTION_PROCESS_ID']); "


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("", 0, ""),
        ("sys.exit(3 * rank)", 3, ""),
        (
            "time.sleep(600) if rank else os.kill(os.getpid(), signal.SIGKILL)",
            1,
            "was ended by SIGKILL; what was saved is kept: go on with: keras-transfer train --resume --output runs/a --processes 2",
        ),
        ("os.kill(os.getpid(), signal.SIGABRT if rank else signal.SIGKILL)", 1, "process 0 of 2"),
    ],
)
def test_the_first_failure_counts(program, status, said, capfd, monkeypatch):
    monkeypatch.setattr("keras_transfer.distribute.local._EXPLAINS", 0.2)
    began = time.monotonic()
    assert run_processes(2, ["-c", RANK + (program or "pass")], "runs/a") == status
    assert time.monotonic() - began < 30
    found = " ".join(capfd.readouterr().err.split())
    assert said in found and bool(said) == ("error" in found)
