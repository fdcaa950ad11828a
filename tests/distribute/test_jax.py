"""Two devices on jax train what one trains."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keras_transfer.runs import RunDirectory
from keras_transfer.runtime import installed_backends
from tests.distribute.pictures import ROOT, assert_same

pytestmark = [
    pytest.mark.slow,
    pytest.mark.no_cover,
    pytest.mark.skipif("jax" not in installed_backends(), reason="needs jax"),
]


def run(config, devices: int) -> tuple[RunDirectory, str]:
    output = config.parent / f"jax_{devices}"
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"} if devices > 1 else {}
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **flags}
    command = [
        sys.executable,
        "-m",
        "keras_transfer",
        "train",
        str(config),
        "--output",
        str(output),
        "--set",
        "backend=jax",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return RunDirectory(output), done.stdout


def test_devices_train_what_one_trains(config):
    alone, _ = run(config, 1)
    found, said = run(config, 2)
    assert "data_parallel (2 devices of jax)" in said
    assert_same(alone, found)
