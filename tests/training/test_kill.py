"""The short version of ``scripts/kill_test.py``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.backend
def test_a_killed_run_ends_with_the_same_bytes(backend, tmp_path):
    done = subprocess.run(
        [sys.executable, "scripts/kill_test.py", "--backend", backend, "--moments", "3", "--json", tmp_path / "kills.json"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "kills.json").read_text())
    assert found["good"] == len(found["kills"]) == 3
