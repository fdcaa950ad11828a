"""The streaming solver on stored features alone: seconds, passes, memory, and an estimate for ImageNet's size. Part of the benchmark `scale`.

Features are float16 (n, 1280) on the disk, read memory-mapped: class centres in noise, both along axes of falling variance, as principal
components of real features are. Everything is found as in a solved phase: strength, head, temperature, evidence. The estimate
is seconds × (1.2 million / n) × (1000 / classes): the cost of a pass is the product of samples, features and classes, and the number of passes
hardly depends on them. What comes before the passes does not depend on the number of samples, so that it is rather too high.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_transfer.runtime import cache_dir

FEATURES, BLOCK = 1280, 8192
FULL, FULL_CLASSES = 1_200_000, 1000


def prepare(samples: int, classes: int, features: int = FEATURES) -> Callable[[], dict[str, float]]:
    parent = cache_dir() / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(dir=parent)
    write(Path(folder.name) / "features.npy", samples, classes, features)

    def measure() -> dict[str, float]:
        command = [sys.executable, "-c", "from benchmarks.scale_solver import main; main()", folder.name, str(classes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    return measure


def write(path: Path, samples: int, classes: int, features: int) -> None:
    """Write features, float16 (n, d); the class of row i is i modulo the number of classes."""
    generator = np.random.default_rng(0)
    spread = np.arange(1, features + 1, dtype=np.float32) ** -0.5
    centres = generator.standard_normal((classes, features), np.float32) * 0.4
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (samples, features))
    for start in range(0, samples, BLOCK):
        rows = np.arange(start, min(start + BLOCK, samples))
        noise = generator.standard_normal((len(rows), features), np.float32)
        stored[rows[0] : rows[-1] + 1] = (centres[rows % classes] + noise) * spread
    stored.flush()


def main() -> None:
    """Solve the head of the folder on the command line; print the figures as JSON."""
    from benchmarks.scale import peak
    from keras_transfer.solved.streamed import solve_streamed

    path, classes = Path(sys.argv[1]) / "features.npy", int(sys.argv[2])
    stored = np.load(path, mmap_mode="r")
    samples, read = len(stored), _Reader(stored)
    began = time.perf_counter()
    found = solve_streamed(read, np.arange(samples) % classes, classes)
    seconds = time.perf_counter() - began
    times = (FULL / samples) * (FULL_CLASSES / classes)
    evidence = found.evidence
    print(json.dumps({
        "value": seconds,
        "passes": read.rows / samples,
        "accuracy": evidence.accuracy if evidence else 0.0,
        "peak GB": peak(),
        "disk GB": path.stat().st_size / 1e9,
        "estimate for 1.2 M x 1,000 h": seconds * times / 3600,
    }))  # fmt: skip


class _Reader:
    """Reads rows, and counts them."""

    def __init__(self, stored: np.ndarray):
        self.stored, self.rows = stored, 0

    def __call__(self, start: int, stop: int) -> np.ndarray:
        self.rows += stop - start
        return self.stored[start:stop].astype(np.float32)
