"""A stopped comparison is resumed by the same command, with a bit-identical result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from keras_transfer.compare import compare
from keras_transfer.runs import RunDirectory
from tests.compare.conftest import write_config
from tests.conftest import ROOT

pytestmark = [pytest.mark.backend, pytest.mark.slow]


def start(sources, out):
    return subprocess.Popen(
        [sys.executable, "-m", "keras_transfer", "compare", *sources, "--output", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.exhaustive
def test_stopped_in_the_second_run(tmp_path, photos, kind):
    from tests.training.small import assert_same

    sources = [write_config(tmp_path / "one.yaml", photos, epochs=1),
               write_config(tmp_path / "two.yaml", photos, epochs=60)]  # fmt: skip
    out = tmp_path / "out"
    process = start(sources, out)
    wait_for(out / "two" / "history.csv", process)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == (-9 if kind == signal.SIGKILL else 130), errors
    two = RunDirectory(out / "two")
    assert "RuntimeWarning" not in errors
    if kind != signal.SIGKILL:
        assert "the same command resumes it" in errors and "Traceback" not in errors
        assert list(two.state.glob("*.npz")) and not two.is_finished()
    model = (out / "one" / "model.keras").stat()

    report = compare(sources, output=out, quiet=True)
    assert [row["state"] for row in report["runs"]] == ["finished", "finished"]
    assert (out / "one" / "model.keras").stat().st_mtime_ns == model.st_mtime_ns, "one was finished"
    assert two.read_history()[-1]["epoch"] == 60
    whole = compare([sources[1], str(out / "one")], output=tmp_path / "whole", quiet=True)
    assert_same(RunDirectory(whole["runs"][0]["run"]), two)


def test_the_worker_of_a_killed_comparison_stops_by_itself(tmp_path, photos):
    """It saves its state and releases the run."""
    sources = [write_config(tmp_path / f"{name}.yaml", photos, epochs=100_000) for name in ("one", "two")]
    process = start(sources, tmp_path / "out")
    run = RunDirectory(tmp_path / "out" / "one")
    wait_for(run.history, process)
    process.kill()
    process.communicate(timeout=240)  # the pipes close with the last process that writes to them
    assert list(run.state.glob("*.npz")) and not run.is_finished()
    with run.locked():
        pass
