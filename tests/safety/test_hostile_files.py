"""Every hostile file is refused with one line, without running its code, network access or much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.safety.hostile import FILES

pytestmark = [pytest.mark.backend, pytest.mark.slow]

# Reads all files in a process without sockets; records each outcome and the peak memory.
READER = """
import json, resource, socket, sys

def no_network(*args, **kwargs):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = no_network
from pathlib import Path
import keras_transfer as kt
from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get
from keras_transfer.models.safetensors import read_safetensors
from keras_transfer.models.torch_checkpoint import read_torch_state_dict
from keras_transfer.runtime import use_backend

use_backend()
from keras_transfer.training.state import load_state

def image(path):
    from keras_transfer.data.samples import FileStore
    FileStore([path]).read(0)

READERS = {
    "model": kt.load,
    "weights": lambda path: get("tiny").build((32, 32, 3), path),
    "arrays": lambda path: kt.data.arrays(path, image_size=8),
    "state": lambda path: load_state(Path(path)),
    "checkpoint": read_torch_state_dict,
    "safetensors": read_safetensors,
    "cifar10": kt.data.cifar10,
    "idx": kt.data.idx,
    "image": image,
}
get("tiny").build((32, 32, 3), "none")
def peak():
    # In MiB. On Linux, ru_maxrss starts at the value of the parent process.
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)

found = {}
for name, (reader, path) in json.load(sys.stdin).items():
    before = peak()
    try:
        READERS[reader](path)
        found[name] = ["loaded", "", 0]
    except UserError as error:
        found[name] = ["refused", str(error), 0]
    except BaseException as error:
        found[name] = [type(error).__name__, str(error), 0]
    found[name][2] = peak() - before
print(json.dumps({"found": found, "peak": peak()}))
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A valid model file."""
    from keras_transfer.models import bundle
    from keras_transfer.models.classifier import build_classifier

    path = tmp_path_factory.mktemp("good") / "good.keras"
    facts = {"classes": ["a", "b", "c"], "image_size": [32, 32], "color": "rgb", "resize": "squash"}
    bundle.save(build_classifier("tiny", 3, weights="none"), path, facts, np.zeros((1, 32, 32, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def read(good, tmp_path_factory):
    """The outcome for each file, including the valid one, in one child process."""
    folder = tmp_path_factory.mktemp("hostile")
    jobs = {"good": ("model", str(good))}
    for name, (_, reader, make) in FILES.items():
        (folder / name).mkdir()
        jobs[name] = (reader, str(make(good, folder / name / "file.keras")))
    assert not list(folder.rglob("marker")), "making the files must not run them"
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_TRANSFER_CACHE": str(folder / "cache")},
        timeout=900,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return {**json.loads(child.stdout.splitlines()[-1]), "folder": folder, "jobs": jobs}


def test_a_good_file_is_loaded(read):
    assert read["found"]["good"][0] == "loaded"


@pytest.mark.parametrize("name", FILES)
def test_refused_by_name_in_one_line(read, name):
    outcome, message, _ = read["found"][name]
    assert outcome == "refused", message
    assert "\n" not in message
    assert FILES[name][0] in message
    assert Path(read["jobs"][name][1]).stem in message, "the message names the file"


def test_no_file_ran_its_code_or_left_its_folder(read):
    assert not list(read["folder"].parent.rglob("marker"))


def test_memory_stays_below_a_gigabyte(read):
    grown = {name: round(found[2]) for name, found in read["found"].items() if found[2] > 100}
    assert read["peak"] < 1024, grown


@pytest.mark.parametrize(
    "name",
    [
        "lambda_layer",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("hdf5_external_link", "member_that_is_a_link")),
    ],
)
def test_the_command_says_it_and_exits_with_2(good, tmp_path, photos, command, name):
    path = FILES[name][2](good, tmp_path / "file.keras")
    done = command("predict", path, photos)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and said[0].startswith("error: refused") and "Traceback" not in done.stderr
