"""Two devices on tensorflow train what one trains."""

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
    pytest.mark.skipif("tensorflow" not in installed_backends(), reason="needs tensorflow"),
]
# A process has one CPU device, unless it asks for more before it uses any.
PROGRAM = """
import sys
import tensorflow as tf
from keras_transfer.cli.app import main
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1])
)
sys.exit(main(["train", *sys.argv[2:]]))
"""


def run(config, devices: int) -> tuple[RunDirectory, str]:
    output = config.parent / f"tensorflow_{devices}"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(devices),
        str(config),
        "--output",
        str(output),
        "--set",
        "model.dropout=0",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return RunDirectory(output), done.stdout


def test_devices_train_what_one_trains(config):
    alone, _ = run(config, 1)
    found, said = run(config, 2)
    assert "data_parallel (2 devices of tensorflow)" in said
    assert_same(alone, found)
