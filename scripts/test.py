"""Lint, types and all tests on every installed backend, with coverage: ``python scripts/test.py [pytest options]``.

The first backend runs the whole suite; the others repeat what depends on the backend (marker ``backend``), each
in a process of its own. Exits with 1 if anything failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from keras_transfer.runtime import installed_backends

ROOT = Path(__file__).resolve().parents[1]
COVERAGE = 90


def run(title: str, command: list[str], **environment: str) -> bool:
    print(f"== {title}", flush=True)
    began = time.perf_counter()
    ok = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0
    print(f"== {title}: {'ok' if ok else 'FAILED'} ({time.perf_counter() - began:.0f} s)", flush=True)
    return ok


def main(options: list[str]) -> int:
    python = sys.executable
    results = [
        run("ruff", [python, "-m", "ruff", "check", "."]),
        run("format", [python, "-m", "ruff", "format", "--check", "."]),
        run("types", [python, "-m", "mypy"]),
        run("erase coverage", [python, "-m", "coverage", "erase"]),
    ]
    for number, backend in enumerate(installed_backends()):
        chosen = [] if number == 0 else ["-m", "backend"]
        command = [python, "-m", "pytest", "--cov=keras_transfer", "--cov-append", "--cov-report=", *chosen, *options]
        results.append(run(f"tests on {backend}", command, KERAS_BACKEND=backend))
    results.append(run("coverage", [python, "-m", "coverage", "report", "--skip-covered", f"--fail-under={COVERAGE}"]))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
