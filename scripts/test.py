"""Lint, types and all tests on every installed backend, with coverage: ``python scripts/test.py [pytest options]``.

The first backend runs the whole suite; the others repeat what depends on the backend (marker ``backend``), each
in a process of its own. Exits with 1 if anything failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from keras_transfer.runtime import installed_backends

ROOT = Path(__file__).resolve().parents[1]
COVERAGE = 90
BEGAN = time.perf_counter()


def run(title: str, command: list[str], **environment: str) -> bool:
    """Run a command, its output shown as it comes."""
    return finish(title, start(title, command, None, **environment), None)


def start(title: str, command: list[str], output: IO[str] | None, **environment: str) -> subprocess.Popen[str]:
    print(f"== {title}", flush=True)
    environment = {**os.environ, **environment}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, text=True)


def finish(title: str, process: subprocess.Popen[str], output: IO[str] | None) -> bool:
    ok = process.wait() == 0
    if output is not None:
        output.seek(0)
        print(f"== {title}\n{output.read()}", end="")
    print(f"== {title}: {'ok' if ok else 'FAILED'} ({time.perf_counter() - BEGAN:.0f} s since the start)", flush=True)
    return ok


def tests_on(backends: list[str], options: list[str]) -> list[bool]:
    """Run the whole suite on the first backend, then the quicker part of what depends on the backend on all others at the same time."""
    command = [sys.executable, "-m", "pytest", "--cov=keras_transfer", "--cov-report=", *options]
    first, *others = backends
    results = [run(f"tests on {first}", command, KERAS_BACKEND=first)]
    running = []
    for backend in others:
        output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  read at the end
        title = f"tests on {backend}"
        environment = {"KERAS_BACKEND": backend, "COVERAGE_FILE": f".coverage.{backend}"}
        running.append(
            (
                title,
                start(title, [*command, "-m", "backend and not slow and not exhaustive"], output, **environment),
                output,
            )
        )
    return results + [finish(*item) for item in running]


def main(options: list[str]) -> int:
    python = sys.executable
    results = [
        run("ruff", [python, "-m", "ruff", "check", "."]),
        run("format", [python, "-m", "ruff", "format", "--check", "."]),
        run("types", [python, "-m", "mypy"]),
        run("coverage erase", [python, "-m", "coverage", "erase"]),
        *tests_on(installed_backends(), options),
    ]
    run("coverage combine", [python, "-m", "coverage", "combine", "--append", "--quiet"])
    results.append(run("coverage", [python, "-m", "coverage", "report", "--skip-covered", f"--fail-under={COVERAGE}"]))
    print(f"{'all passed' if all(results) else 'FAILED'} in {time.perf_counter() - BEGAN:.0f} s")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
