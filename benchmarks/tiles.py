"""Several labels per image, measured: tiles of two pictures, each of which brings its class as a label.

    python -m benchmarks.tiles make DATA tiles/ --train 600 --test 1000
    python -m benchmarks.tiles compare runs/tiles

DATA is a folder of `train/CLASS/*.jpg` and `test/CLASS/*.jpg`, or an archive of it. `compare` solves scikit-learn's one-versus-rest
logistic regression on the very features that the run's head reads, with a strength chosen by its own cross-validation, and prints both
mean average precisions on the test tiles.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WITHOUT = 0.05  # share of tiles of noise, which have no label


def pictures_of(source: Path, split: str) -> list[tuple[Path, str]]:
    """Return the files of a split with their classes, in order."""
    found = sorted((source / split).glob("*/*.jpg"))
    if not found:
        raise SystemExit(f"no pictures {split}/CLASS/*.jpg in {source}")
    return [(path, path.parent.name) for path in found]


def make(source: Path, target: Path, counts: dict[str, int], side: int, seed: int = 0) -> None:
    """Write tiles of two pictures side by side, and `labels.csv` with the columns path, labels and split."""
    rng = np.random.default_rng(seed)
    rows = []
    for split, count in counts.items():
        pictures = pictures_of(source, split)
        (target / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            chosen = [pictures[i] for i in rng.choice(len(pictures), 2, replace=False)]
            tile = Image.new("RGB", (2 * side, side))
            for place, (path, _) in enumerate(chosen):
                tile.paste(Image.open(path).convert("RGB").resize((side, side)), (place * side, 0))
            labels = dict.fromkeys(name for _, name in chosen)
            if rng.random() < WITHOUT:
                noise = rng.integers(0, 256, (4, 8, 3), dtype=np.uint8)
                tile, labels = Image.fromarray(noise).resize((2 * side, side)), {}
            name = f"{split}/{number:05d}.jpg"
            tile.save(target / name, quality=92)
            rows.append((name, ";".join(labels), split))
    with (target / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "labels", "split"), *rows])


def compare(run: Path) -> dict[str, float]:
    """Return the mean average precision on the test tiles of scikit-learn's head and of the run."""
    import keras
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.multiclass import OneVsRestClassifier

    from keras_transfer.inference import data_of, start, transform_of
    from keras_transfer.runs import RunDirectory

    model, metadata, _ = start(run, None, None)
    data = data_of(RunDirectory.open(run))
    if data is None:
        raise SystemExit("the data of the run have changed")
    run_map = _map(data.test.labels, _computed(model, data.test, transform_of(metadata)))
    plain = start(run, None, None)[0] if not _is_tuned(run) else _untuned(run)
    features = keras.Model(plain.inputs[0], plain.layers[-1].input)
    rows = {split.name: _computed(features, split, transform_of(metadata)) for split in (data.train, data.test)}
    found = {"run": run_map}
    # The columns centred and the rows of size 10 on average: scikit-learn's strengths, 1e-4 to 1e4, then surround the best ones.
    mean = rows["train"].mean(axis=0)
    size = np.sqrt(np.square(rows["train"] - mean).sum(axis=1).mean()) / 10
    one = LogisticRegressionCV(
        Cs=10, cv=5, scoring="neg_log_loss", max_iter=3000, use_legacy_attributes=False, l1_ratios=(0.0,)
    )
    head = OneVsRestClassifier(one).fit((rows["train"] - mean) / size, data.train.labels)
    found["scikit-learn"] = _map(data.test.labels, head.decision_function((rows["test"] - mean) / size))
    return found


def _map(labels: np.ndarray, logits: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, logits))


def _is_tuned(run: Path) -> bool:
    from keras_transfer.runs import RunDirectory

    return any(phase.solver != "exact" for phase in RunDirectory.open(run).read_resolved().phases)


def _untuned(run: Path) -> Any:
    """Return the model that the run began with."""
    from keras_transfer.inference import data_of
    from keras_transfer.runs import RunDirectory
    from keras_transfer.training.build import make_model

    opened = RunDirectory.open(run)
    data = data_of(opened)
    assert data is not None
    return make_model(opened.read_resolved(), data, "float32")


def _computed(model: Any, split: Any, transform: Any) -> np.ndarray:
    from keras_transfer.data.loading.loader import Loader

    with Loader(split, transform, 32, with_labels=False) as loader:
        return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in loader.epoch()])


def main() -> None:
    """Make tiles, or compare a run with scikit-learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("source", type=Path)
    making.add_argument("target", type=Path)
    making.add_argument("--train", type=int, default=600)
    making.add_argument("--test", type=int, default=1000)
    making.add_argument("--side", type=int, default=128, help="of each picture, in pixels")
    comparing = commands.add_parser("compare")
    comparing.add_argument("run", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        for name, value in compare(given.run).items():
            print(f"{name}: mean average precision {value:.4f}")
        return
    counts = {"train": given.train, "test": given.test}
    if given.source.is_dir():
        make(given.source, given.target, counts, given.side)
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(given.source) as archive:
            archive.extractall(folder, filter="data")
        inside = Path(folder)
        make(next(path.parent for path in inside.glob("**/train")), given.target, counts, given.side)


if __name__ == "__main__":
    main()
