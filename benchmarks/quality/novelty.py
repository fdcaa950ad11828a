"""None of these: how well novelty tells images of classes that were left out of training, against other scores.

    python -m benchmarks.quality.novelty FOLDER_OF_SETS [--sizes 100 400] [--pairs 3] [--rate 0.05]

Of each set with at least four classes, two classes are left out, as many times as `--pairs` says. A head is solved on the features of the
others, novelty is calibrated out of fold, and all test images are scored: those of the classes left out should score higher (AUROC).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from benchmarks.quality.features import pooled
from benchmarks.quality.sets import ImageSet, find_sets, open_set, subset
from keras_transfer.solved.cross_validation import cross_validate
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.novelty import Novelty, Subspace, energy_of, held_out_residuals, residual_folds
from keras_transfer.solved.solvers import SOLVERS


def pairs(classes: int, count: int) -> list[tuple[int, int]]:
    """Return pairs of classes to leave out, the same in every run."""
    rng, found = np.random.default_rng(0), set()
    while len(found) < count:
        found.add(tuple(sorted(rng.choice(classes, 2, replace=False).tolist())))
    return sorted(found)


def measure(images: ImageSet, left: Sequence[int], size: int, rate: float) -> dict[str, float]:
    """Return the AUROC of every score in per cent, and the share of known test images that are rejected, in per cent."""
    kept = [label for label in range(len(images.classes)) if label not in left]
    place = {label: number for number, label in enumerate(kept)}
    features, _ = pooled(images.train, f"{images.name}-train")
    test, _ = pooled(images.test, f"{images.name}-test")
    rows = np.flatnonzero(~np.isin(images.train_labels, left))
    labels = np.array([place[label] for label in images.train_labels[rows]])
    chosen = subset(labels, size, 0)
    x, y = features[rows][chosen].astype(np.float64), labels[chosen]
    solver, folds = SOLVERS["logistic"], folds_of(y, x)
    found = cross_validate(solver, x, y, len(kept), folds)
    head = solver.solve(x, y, len(kept), found.strength, None).scaled(found.temperature)
    subspace = Subspace.of(x)
    apart = folds_of(y, x, None, residual_folds(len(x)))[0]
    energies, residuals = energy_of(found.logits / found.temperature), held_out_residuals(x, apart)
    novelty = Novelty.calibrate(subspace, energies, residuals, rate)
    logits, strange = head.logits(test), np.isin(images.test_labels, left)
    scores = {
        "largest probability": -softmax(logits, axis=1).max(axis=1),
        "energy": energy_of(logits),
        "residual": subspace.residual(test),
        "nearest neighbour": -(_unit(test) @ _unit(x).T).max(axis=1),
        "novelty": novelty(test, logits),
    }
    result = {name: 100 * float(roc_auc_score(strange, values)) for name, values in scores.items()}
    return {**result, "rejected": 100 * float((scores["novelty"][~strange] > 0).mean())}


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def cases(folder: Path, count: int) -> Iterator[tuple[ImageSet, list[tuple[int, int]]]]:
    """Yield the sets that can do without two classes, with the pairs."""
    for name, path in find_sets(folder).items():
        images = open_set(name, path)
        if len(images.classes) >= 4:
            yield images, pairs(len(images.classes), count)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.05)
    given = parser.parse_args()
    table: list[dict[str, float]] = []
    for size in given.sizes:
        for images, left in cases(given.folder, given.pairs):
            found = [measure(images, pair, size, given.rate) for pair in left]
            row = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
            if not table:
                print("| set | images |", " | ".join(row), "|\n|---|---|" + "---|" * len(row))
            table.append({"images": size, **row})
            print(f"| {images.name} | {size} |", " | ".join(f"{value:.1f}" for value in row.values()), "|", flush=True)
        mean = {name: np.mean([row[name] for row in table if row["images"] == size]) for name in row}
        print(f"| mean | {size} |", " | ".join(f"{value:.1f}" for value in mean.values()), "|", flush=True)


if __name__ == "__main__":
    main()
