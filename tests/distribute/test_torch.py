"""Two processes on torch train what one trains: losses, metrics and weights, over phases, interruptions and uneven batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transfer.runs import RunDirectory
from keras_transfer.runtime import installed_backends
from keras_transfer.training.state import load_state
from tests.distribute.pictures import ROOT, assert_same

pytestmark = [
    pytest.mark.slow,
    pytest.mark.no_cover,
    pytest.mark.skipif("torch" not in installed_backends(), reason="needs torch"),
]


def run(config: Path, output: Path, processes: int, *die: int) -> subprocess.CompletedProcess[str]:
    program = [str(ROOT / "tests" / "distribute" / "program.py"), str(config), str(output), *map(str, die)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), *program]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def alone(config) -> RunDirectory:
    done = run(config, config.parent / "alone", 1)
    assert done.returncode == 0, done.stderr
    return RunDirectory(config.parent / "alone")


def digests(output: Path, processes: int) -> list[str]:
    return [output.with_name(f"{output.name}.{rank}").read_text() for rank in range(processes)]


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_processes_train_what_one_trains(config, alone, processes):
    output = config.parent / f"of_{processes}"
    done = run(config, output, processes)
    assert done.returncode == 0, done.stderr
    assert f"data_parallel ({processes} processes of torchrun)" in done.stdout
    assert done.stdout.count("run: ") == 1  # process 0 prints for all
    assert_same(alone, RunDirectory(output))
    assert len(set(digests(output, processes))) == 1


@pytest.mark.exhaustive
def test_a_killed_process_ends_the_run_which_is_resumed_to_the_same_end(config, alone):
    output = config.parent / "killed"
    done = run(config, output, 2, 1, 11)  # in the second phase
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "error: process 1 of 2 (pid" in said and "has ended" in said
    assert f"keras-transfer train --resume --output {output} --processes 2" in said
    state = RunDirectory(output).state_file
    assert load_state(state).phase == 1 or state.with_name("within_epoch.npz").is_file()
    done = run(config, output, 2)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    assert_same(alone, RunDirectory(output))
    assert len(set(digests(output, 2))) == 1
