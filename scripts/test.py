"""Lint, types and all tests on every installed backend, with coverage on the first: ``python scripts/test.py [pytest options]``.

The first backend runs the whole suite; the others repeat what depends on the backend (marker ``backend``), each
in processes of its own: as many as there are cores, of one thread each. Exits with 1 if anything failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_transfer.runtime import installed_backends

ROOT = Path(__file__).resolve().parents[1]
COVERAGE = 90
COVERED = ["--cov=keras_transfer", "--cov-report=", "--cov-append"]  # on one backend: counting lines takes time
BEGAN = time.perf_counter()
# Several threads in each of several processes would wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def run(title: str, command: list[str], **environment: str) -> bool:
    """Run a command, its output shown as it comes."""
    print(f"== {title}", flush=True)
    ok = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0
    print(f"== {title}: {'ok' if ok else 'FAILED'} ({time.perf_counter() - BEGAN:.0f} s since the start)", flush=True)
    return ok


def tests_on(backends: list[str], options: list[str]) -> list[bool]:
    """Run the whole suite on the first backend, then the quicker part of what depends on the backend on the others."""
    command = [sys.executable, "-m", "pytest", "--numprocesses=auto", "--dist=loadfile", "--durations=10"]
    command += options
    results = []
    with tempfile.TemporaryDirectory() as compiled:
        for backend in backends:
            first = backend == backends[0]
            part = COVERED if first else ["-m", "backend and not slow and not exhaustive"]
            environment = {**ONE_THREAD, **compiled_once(compiled)} if backend == "jax" else ONE_THREAD
            results.append(run(f"tests on {backend}", [*command, *part], KERAS_BACKEND=backend, **environment))
    return results


def compiled_once(folder: str) -> dict[str, str]:
    """Have JAX keep what it compiles, which is most of its time here: many tests, in many processes, train the same small models."""
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def main(options: list[str]) -> int:
    python = sys.executable
    results = [
        run("ruff", [python, "-m", "ruff", "check", "."]),
        run("format", [python, "-m", "ruff", "format", "--check", "."]),
        run("types", [python, "-m", "mypy"]),
        run("coverage erase", [python, "-m", "coverage", "erase"]),
        *tests_on(installed_backends(), options),
    ]
    results.append(run("coverage", [python, "-m", "coverage", "report", "--skip-covered", f"--fail-under={COVERAGE}"]))
    print(f"{'all passed' if all(results) else 'FAILED'} in {time.perf_counter() - BEGAN:.0f} s")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
