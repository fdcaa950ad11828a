"""One OpenVINO for the life of the process, which leaves signals alone and asks nobody's server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("openvino")
pytestmark = pytest.mark.backend

INTERRUPTED = """
import faulthandler, gc, os, signal
faulthandler.enable()  # as pytest and many programs do: handlers then run on a stack of their own
from keras_transfer import runtime
runtime.use_backend()
import numpy as np
from keras_transfer.engine.forward import fastest
from keras_transfer.models.classifier import build_classifier

model = build_classifier("tiny", 3, image_size=32, weights="none")
images = np.zeros((20, 32, 32, 3), np.uint8)
for _ in range(2):
    engine = fastest(model, {}, images, "openvino", print)
    engine.predict_on_batch(images), engine.predict_on_batch(images[:1])
    del engine
    gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_ctrl_c_after_predictions_is_an_interruption_and_no_crash():
    """The CPU plugin of each `openvino.Core` installs a stack for signal handlers; two of them may leave one that is unmapped."""
    done = run(INTERRUPTED)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr[-2000:]


def test_nothing_is_sent():
    """Importing OpenVINO would start a process that sends an event."""
    program = (
        "import multiprocessing as m\n"
        "def start(self): raise SystemExit('a process was started')\n"
        "m.Process.start = start\n"
        "from keras_transfer.engine.openvino_core import core\n"
        "import sys\n"
        "core()\n"
        "print(sys.modules.get('openvino_telemetry'))\n"
    )
    done = run(program)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr[-2000:]
