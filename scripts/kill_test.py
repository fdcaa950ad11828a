"""Kill training at random moments and check that resuming gives the same result.

A small two-phase run, with features on disk and its state saved after every step, is killed (SIGKILL) at random moments
after its imports, some of them in a process that was itself resumed. It is resumed until it finishes, and its final
weights and history are compared, byte by byte, with those of an uninterrupted run:

    python scripts/kill_test.py --backend torch --moments 30 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import yaml

from keras_transfer.files import write_json
from keras_transfer.runtime import BACKENDS, choose_backend

ROOT = Path(__file__).resolve().parents[1]
KILLS_A_RUN = 3
TIMES = ("seconds", "images_per_second", "data_wait")
CONFIG = {
    "name": "killed",
    "data": {"image_size": 32, "batch_size": 8, "augment": ["horizontal_flip"], "workers": 2},
    "model": {"backbone": "tiny", "weights": "none"},
    "phases": [
        {"name": "head", "epochs": 4, "learning_rate": 0.03, "augment": False},
        {"name": "all", "epochs": 3, "learning_rate": 0.003, "schedule": "cosine", "weight_decay": 0.01},
    ],
    "callbacks": {"reduce_lr": {"patience": 1}},
    "output": {"save_every": "1 step", "report": False},
}


@dataclass
class Kill:
    """One kill: the run, the seconds after its imports, whether it was a resumed process, and what it left on disk."""

    run: int
    seconds: float
    resumed: bool
    found: str


class Process:
    """Training in a child process."""

    def __init__(self, run: Path, config: Path, cache: Path, backend: str):
        self.run = run
        self.resumed = (run / "config.yaml").is_file()
        what = ["--resume"] if self.resumed else [str(config)]
        self.log = run.with_suffix(".log")
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "keras_transfer", "train", *what, "--output", str(run), "--backend", backend],
                stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                env={**os.environ, "KERAS_TRANSFER_CACHE": str(cache), "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def text(self) -> str:
        """Return the output so far."""
        return self.log.read_text("utf-8", errors="replace")

    def wait_for(self, line: str) -> None:
        """Wait until the process has printed ``line``, or has ended."""
        while self.process.poll() is None and line not in self.text():
            time.sleep(0.005)

    def kill_after(self, seconds: float) -> bool:
        """Kill it this long after its imports; return whether it was still running."""
        self.wait_for("\ndevice: ")  # printed once everything is imported
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        early = self.process.poll() is None and "\nrun: " not in self.text()
        self.process.kill()
        self.process.wait()
        return early

    def finish(self) -> float:
        """Wait for its end; return the seconds from the imports to the last line."""
        self.wait_for("\ndevice: ")
        began = time.perf_counter()
        self.wait_for("\nrun: ")
        seconds = time.perf_counter() - began
        if self.process.wait() != 0:
            raise SystemExit(f"{self.run.name} failed:\n{self.text()}")
        return seconds


def make_images(folder: Path, count: int = 24) -> None:
    rng = np.random.default_rng(0)
    for number, name in enumerate(("apple", "berry", "cherry")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (40, 40, 3))
            pixels[..., number] += 80
            cv2.imwrite(str(folder / name / f"{i:03d}.png"), pixels.astype(np.uint8))


def result_of(run: Path) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """Return the bytes of every final weight, and the history without timings."""
    weights: dict[str, bytes] = {}
    with zipfile.ZipFile(run / "model.keras") as archive:
        stored = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        stored.visititems(
            lambda name, item: weights.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    with (run / "history.csv").open(encoding="utf-8", newline="") as lines:
        rows = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(lines)]
    return weights, rows


def found_in(run: Path, cache: Path) -> str:
    """Describe what a killed process left on disk."""
    if not (run / "config.yaml").is_file():
        return "no configuration yet"
    if (run / "metrics.json").is_file():
        return "a finished run"
    parts = [*run.rglob(".*.part"), *cache.rglob(".*.part")]
    half = "".join(
        f", half of {'features' if cache in path.parents else path.name.split('.part')[0]}" for path in parts
    )
    states = []
    for file in (run / "state").glob("*.npz"):
        with np.load(file) as stored:
            facts = json.loads(stored["json"].tobytes())
        states.append([facts[key] for key in ("phase", "phase_done", "epoch", "batch")])
    if not states:
        return "no state yet" + half
    phase, done, epoch, batch = max(states)
    where = "its end" if done else f"epoch {epoch + 1}, {batch} batches"
    return f"phase {phase + 1}, {where}{half}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backend", choices=BACKENDS, default=choose_backend().value)
    parser.add_argument("--moments", type=int, default=30, metavar="N", help="number of kills (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (default: 0)")
    parser.add_argument("--json", metavar="FILE", help="also write the kills as JSON")
    parser.add_argument(
        "--deterministic", action="store_true", help="deterministic operations, which a GPU needs for the same bytes"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill_test_") as folder:
        kills, good = kill_all(Path(folder), options.backend, options.moments, options.seed, options.deterministic)
    print(f"{good} of {len(kills)} kills: the resumed run ended with the same bytes ({options.backend})")
    if options.json:
        write_json(options.json, {"backend": options.backend, "good": good, "kills": [asdict(kill) for kill in kills]})
    return 0 if good == len(kills) else 1


def kill_all(
    folder: Path, backend: str, moments: int, seed: int, deterministic: bool = False
) -> tuple[list[Kill], int]:
    """Kill ``moments`` times; return the kills, and how many were in a run that ended with the expected result."""
    rng = random.Random(seed)
    make_images(folder / "images")
    config = folder / "config.yaml"
    data = {**CONFIG["data"], "path": str(folder / "images")}  # type: ignore[dict-item]
    config.write_text(yaml.safe_dump({**CONFIG, "data": data, "deterministic": deterministic}))
    life = Process(folder / "whole", config, folder / "cache", backend).finish()
    expected = result_of(folder / "whole")
    print(f"uninterrupted run: {life:.1f} s after its imports, {len(expected[0])} weights")

    kills: list[Kill] = []
    good = number = 0
    while len(kills) < moments:
        number += 1
        run, cache = folder / f"run{number}", folder / f"cache{number}"
        share = (len(kills) + rng.random()) / moments  # spread first kills evenly over the duration of a run
        mine: list[Kill] = []
        for _ in range(min(KILLS_A_RUN, moments - len(kills))):
            seconds = share * life
            process = Process(run, config, cache, backend)
            if not process.kill_after(seconds):
                life *= 0.9 if not process.resumed else 1  # it finished first: runs have become faster
                break
            mine.append(Kill(number, seconds, process.resumed, found_in(run, cache)))
            share = rng.random() * (1 - share)
        if not (run / "metrics.json").is_file():
            Process(run, config, cache, backend).finish()
        same = result_of(run) == expected
        good += len(mine) * same
        kills += mine
        for kill in mine:
            how = "resumed" if kill.resumed else "new"
            print(
                f"{kill.run:3d}  {how:7s}  {kill.seconds:6.2f} s  {kill.found}  {'same' if same else 'DIFFERENT'}",
                flush=True,
            )
    return kills, good


if __name__ == "__main__":
    sys.exit(main())
