"""Two devices on jax train what one trains, and so do two processes: losses, metrics and weights, over phases and interruptions."""

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
    pytest.mark.skipif("jax" not in installed_backends(), reason="needs jax"),
]
LAUNCH = "import sys; from keras_transfer.distribute.local import run_processes; sys.exit(run_processes(2, sys.argv[1:], sys.argv[3]))"
GROUP = """
import numpy as np
from keras_transfer.distribute.connect import connect
from keras_transfer.distribute.start import start
from keras_transfer.errors import UserError
connect("jax", "auto")
group = start("auto", "jax", "cpu")
assert (group.size, group.parts, group.divides) == (2, 2, True)
assert group.from_main(lambda: group.rank) == 0
found = group.gather(np.full((2, 3), group.rank))
assert (found is None) == (group.rank == 1)
assert found is None or found.tolist() == [[0] * 3, [0] * 3, [1] * 3, [1] * 3]
assert group.sum([np.arange(3), np.array([0.5])])[0].tolist() == [0, 2, 4]
assert group.all(True) and not group.all(group.rank == 0)
try:
    group.from_main(lambda: 1 / 0)
except ZeroDivisionError as error:
    assert getattr(error, "of_process_0", False) == (group.rank == 1)
else:
    raise AssertionError
group.close()
print("done", flush=True)
"""


def environment(devices: int = 1) -> dict[str, str]:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"} if devices > 1 else {}
    return {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **flags}


def run(command: list[str], devices: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment(devices), capture_output=True, text=True, timeout=900
    )


def train(config: Path, devices: int) -> tuple[RunDirectory, str]:
    output = config.parent / f"jax_{devices}"
    done = run(["-m", "keras_transfer", "train", str(config), "--output", str(output), "--set", "backend=jax"], devices)
    assert done.returncode == 0, done.stderr
    return RunDirectory(output), done.stdout


def in_two_processes(config: Path, output: Path, *die: int) -> subprocess.CompletedProcess[str]:
    program = ROOT / "tests" / "distribute" / "program.py"
    return run(["-c", LAUNCH, str(program), str(config), str(output), *map(str, die)])


@pytest.fixture(scope="module")
def alone(config) -> RunDirectory:
    return train(config, 1)[0]


def digests(output: Path) -> list[str]:
    return [output.with_name(f"{output.name}.{rank}").read_text() for rank in range(2)]


def test_devices_train_what_one_trains(config, alone):
    found, said = train(config, 2)
    assert "data_parallel (2 devices of jax)" in said
    assert_same(alone, found)


def test_processes_share_values_and_errors():
    done = run(["-c", LAUNCH.replace("sys.argv[3]", "None"), "-c", GROUP])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 2


@pytest.mark.exhaustive
def test_processes_train_what_one_trains(config, alone):
    output = config.parent / "jax_processes"
    done = in_two_processes(config, output)
    assert done.returncode == 0, done.stderr
    assert "data_parallel (2 processes of" in done.stdout
    assert done.stdout.count("run: ") == 1  # process 0 prints for all
    assert_same(alone, RunDirectory(output))
    assert len(set(digests(output))) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_which_is_resumed_to_the_same_end(config, alone, rank):
    output = config.parent / f"jax_killed_{rank}"
    done = in_two_processes(config, output, rank, 11)  # in the second phase
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert f"error: process {rank} of 2 (pid" in said
    assert f"keras-transfer train --resume --output {output} --processes 2" in said
    state = RunDirectory(output).state_file
    assert load_state(state).phase == 1 or state.with_name("within_epoch.npz").is_file()
    done = in_two_processes(config, output)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stdout
    assert_same(alone, RunDirectory(output))
    assert len(set(digests(output))) == 1
