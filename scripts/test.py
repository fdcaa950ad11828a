"""Run linter, type checker and tests on every installed backend: ``python scripts/test.py [--full] [pytest options]``.

The first backend runs all tests; the others repeat those of the parts that compute with the backend (marker ``backend``). With ``--full``,
they repeat those of every part, and the first backend is traced for coverage, which doubles its time. Each runs in as many processes as
there are cores, with one thread each. Exits with 1 if anything failed.
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
COVERED = ["--cov=keras_transfer", "--cov-report=", "--cov-append"]  # on one backend, since it is slow
# What computes with the backend. The other parts call these, and what they do of their own is the same everywhere.
PARTS = [
    *(
        f"tests/{name}"
        for name in (
            "models",
            "engine",
            "checkpoints",
            "training",
            "explain",
            "export",
            "parity",
            "evaluation",
            "revise",
        )
    ),
    *(
        f"tests/test_{name}.py"
        for name in ("classifier", "inference", "keras_compat", "deterministic", "runtime", "recipes")
    ),
    "tests/safety/test_threads.py",
]
BEGAN = time.perf_counter()
# More threads than cores would slow each other down.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def run(title: str, command: list[str], **environment: str) -> bool:
    """Run a command with its output shown; return whether it succeeded."""
    print(f"== {title}", flush=True)
    ok = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0
    print(f"== {title}: {'ok' if ok else 'FAILED'} ({time.perf_counter() - BEGAN:.0f} s since the start)", flush=True)
    return ok


def tests_on(backends: list[str], options: list[str], full: bool) -> list[bool]:
    """Run all tests on the first backend, and the quicker ones that depend on the backend on the others."""
    command = [sys.executable, "-m", "pytest", "--numprocesses=auto", "--dist=loadfile", "--durations=25"]
    command.append("--no-loadscope-reorder")  # in the order of tests/conftest.py: the longest first
    command += options
    results = []
    with tempfile.TemporaryDirectory() as compiled:
        for backend in backends:
            first = backend == backends[0]
            part = [*COVERED] if full else []
            if not first:
                part = ["-m", "backend and not slow and not exhaustive", *([] if full else PARTS)]
            environment = {**ONE_THREAD, **compiled_once(compiled)} if backend == "jax" else ONE_THREAD
            results.append(run(f"tests on {backend}", [*command, *part], KERAS_BACKEND=backend, **environment))
    return results


def compiled_once(folder: str) -> dict[str, str]:
    """Return the settings of a compilation cache for JAX, because many tests compile the same small models, and compile more than they compute."""
    return {
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def main(options: list[str]) -> int:
    python, full = sys.executable, "--full" in options
    options = [option for option in options if option != "--full"]
    results = [
        run("ruff", [python, "-m", "ruff", "check", "."]),
        run("format", [python, "-m", "ruff", "format", "--check", "."]),
        run("types", [python, "-m", "mypy"]),
    ]
    if full:
        results.append(run("coverage erase", [python, "-m", "coverage", "erase"]))
    results += tests_on(installed_backends(), options, full)
    if full:
        report = [python, "-m", "coverage", "report", "--skip-covered", f"--fail-under={COVERAGE}"]
        results.append(run("coverage", report))
    print(f"{'all passed' if all(results) else 'FAILED'} in {time.perf_counter() - BEGAN:.0f} s")
    return 0 if all(results) else 1


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
