"""Features of 1.2 million pictures and the solved head on them: seconds, peak memory, disk. Part of the benchmark `scale`.

The pictures are PNG files of 32 x 32 in a shard, of 100 classes; the index names each of 2,000 files many times, so that the data need no
room. Everything else is as in training: each picture is read, decoded and goes through efficientnet_lite0 (1,280 features, random weights);
features are stored in the cache and read memory-mapped; strength, temperature and evidence are found as in any solved phase. Each round is a
process of its own, with a new folder for the features.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_transfer.data.sharded.index import ShardIndex, read_index
from keras_transfer.data.sharded.places import Place
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.runtime import cache_dir

CLASSES, FILES, SIDE = 100, 2000, 32


def prepare(pictures: int) -> Callable[[], dict[str, float]]:
    folder = make_data(pictures)

    def measure() -> dict[str, float]:
        command = [sys.executable, "-c", "from benchmarks.scale_head import main; main()", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    return measure


def make_data(pictures: int) -> Path:
    """Return a folder with one shard and an index of so many pictures, written once."""
    from keras_transfer.data.samples import ArrayStore, make_samples
    from keras_transfer.data.writing.shards import write_shards

    folder = cache_dir() / "benchmarks" / f"pictures-{pictures}"
    if (folder / "index.json").is_file():
        return folder
    generator = np.random.default_rng(0)
    labels = np.arange(FILES) % CLASSES
    centres = generator.integers(40, 216, (CLASSES, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = np.clip(centres[labels] + generator.normal(0, 40, (FILES, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    names = [f"{k:03d}" for k in range(CLASSES)]
    samples = make_samples(names, ArrayStore(images), labels, source="pictures")
    with tempfile.TemporaryDirectory(dir=_parent(folder)) as aside:
        index: ShardIndex = write_shards(samples, aside).index
        rows = np.sort(np.arange(pictures) % FILES)
        split = np.where(np.arange(pictures) % 50 == 0, 2, 1).astype(np.uint8)  # one of fifty for validation
        many = replace(
            index,
            shard=index.shard[rows],
            offset=index.offset[rows],
            length=index.length[rows],
            labels=index.labels[rows],
            split=split,
            names=Texts.of(f"{i:09d}.png" for i in range(pictures)),
            digests=None if index.digests is None else index.digests[rows],
        )
        many.write(Place(aside), aside)
        read_index(Place(aside), aside)
        Path(aside).rename(folder)
        Path(aside).mkdir()  # for the end of the block
    return folder


def _parent(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent


def main() -> None:
    """Compute features and head of the folder on the command line; print the figures as JSON."""
    from benchmarks.scale import peak
    from keras_transfer import Classifier, data
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.keras_dataset import Batches
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.engine.features import FeatureSettings
    from keras_transfer.training.exact import head_part, solve_head

    began = time.perf_counter()
    found = data.shards(sys.argv[1], SIDE, test_fraction=0)
    opened = time.perf_counter()
    model = Classifier("efficientnet_lite0", found.classes, image_size=SIDE, weights="none").model
    transform = Transform((SIDE, SIDE))
    parts = [Batches(Loader(split, transform, 256, workers=2)) for split in (found.train, found.val)]
    with tempfile.TemporaryDirectory(dir=cache_dir() / "benchmarks") as folder:
        settings = FeatureSettings("disk", 1 << 40, "float32", folder=Path(folder))
        start = time.perf_counter()
        part = head_part(model, parts[0], parts[1], settings, lambda line: print(line, file=sys.stderr))
        computed, before = time.perf_counter(), peak()
        solution = solve_head(part, "auto")
        solved = time.perf_counter()
        disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(str(solution), file=sys.stderr)
    print(json.dumps({
        "value": solved - start,
        "open s": opened - began,
        "features s": computed - start,
        "head s": solved - computed,
        "peak GB": peak(),
        "peak before the head GB": before,
        "disk GB": disk / 1e9,
    }))  # fmt: skip
