"""A few seconds of each fuzzer of ``scripts/fuzz.py``; longer runs are in docs/results.md."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.mark.parametrize("door", ["images", "models", "lists", "http"])
def test_nothing_falls(door, tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        ROOT / "scripts/fuzz.py",
        door,
        "--seconds",
        "3",
        "--failures",
        tmp_path / "f",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert ", 0 fell" in done.stdout
