"""A list file of 1.2 million lines (ImageNet's size): seconds to read, check and split it, and memory.

The listed files exist but are empty: no image is decoded. Each round is a separate process, for its peak memory. After
splitting, two epochs of shuffled indices are iterated, with names and labels; the growth is that of the second epoch.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Case, Options, Rival
from keras_transfer.data.archive import cache_dir

LINES, CLASSES = 1_200_000, 1000
ROWS, HEAD_CLASSES = 100_000, 100
LONG = 6 * 3600.0
HEAD_LIMITS = {"peak GB": 6.0}
LIMITS = {"value": 15.0, "peak GB": 1.5, "growth MB": 8.0}


def cases(options: Options) -> list[Case]:
    lines = options.images or LINES
    rows = options.images or ROWS
    rival = Rival("list", "benchmarks.scale:list_file", {"lines": lines}, limits=LIMITS)
    arguments = {"samples": rows, "classes": HEAD_CLASSES}
    head = Rival("head alone", "benchmarks.scale_solver:prepare", arguments, limits=HEAD_LIMITS)
    both = Rival("features and head", "benchmarks.scale_head:prepare", {"pictures": lines}, limits=HEAD_LIMITS)
    name = f"head on {rows:,} x 1,280 features, {HEAD_CLASSES} classes"
    return [
        Case(f"list of {lines:,} lines", "s", (rival,), higher_is_better=False, rounds=3),
        Case(name, "s", (head,), higher_is_better=False, rounds=1),
        Case(f"features and head of {lines:,} pictures", "s", (both,), higher_is_better=False, rounds=1, timeout=LONG),
    ]


def list_file(lines: int) -> Callable[[], dict[str, float]]:
    path = make_list(lines)

    def measure() -> dict[str, float]:
        command = [sys.executable, "-c", "from benchmarks.scale import main; main()", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    return measure


def main() -> None:
    """Read, split and iterate over the list given on the command line; print the figures as JSON."""
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.dataset import Dataset
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.data.sources import SOURCES
    from keras_transfer.data.split import assign

    began = time.perf_counter()
    samples = SOURCES["list"].load(sys.argv[1])
    read = time.perf_counter()
    train = Dataset(assign(samples, 0.15, 0.15, 0)).train
    split = time.perf_counter()
    loader = Loader(train, Transform((224, 224)), 256, shuffle=True, workers=0)
    sizes = []
    for epoch in range(2):
        for i in range(len(loader)):
            positions = loader.positions(epoch, i)
            loader.targets(positions)
            [train.image_name(position) for position in positions.tolist()]
        sizes.append(resident())
    print(json.dumps({
        "value": split - began,
        "read s": read - began,
        "split s": split - read,
        "peak GB": peak(),
        "growth MB": (sizes[1] - sizes[0]) / (1 << 20),
    }))  # fmt: skip


def peak() -> float:
    """Return the peak memory of this process in GB.

    Not from getrusage on Linux, which includes the peak of the parent process.
    """
    try:
        found = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
        return int(found[0].split()[1]) / (1 << 20)
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30)


def resident() -> int:
    """Return the resident memory of this process in bytes (0 where it is not available)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_list(lines: int) -> Path:
    """Return a list file in the cache, created once together with the empty files that it lists."""
    folder = cache_dir() / "benchmarks" / f"list-{lines}"
    if folder.is_dir():
        return folder / "list.txt"
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        with (aside / "list.txt").open("w") as text:
            for c in range(CLASSES):
                (aside / f"n{c:08d}").mkdir()
                for i in range(c, lines, CLASSES):
                    name = f"n{c:08d}/n{c:08d}_{i}.JPEG"
                    os.close(os.open(aside / name, os.O_CREAT | os.O_WRONLY))
                    text.write(f"{name} {c}\n")
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / "list.txt"
