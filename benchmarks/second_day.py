"""Pictures chosen for labelling by BADGE against random ones: accuracy of a solved head after 20, then 4 × 20 labels.

    python -m benchmarks.second_day SET [SET …]

A SET has the folders train/CLASS and test/CLASS. Features are those of efficientnet_lite0 at its own size.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

SEEDS, START, STEP, STEPS = 5, 20, 20, 4


def features_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) and labels (n,) of the class folders in a folder, kept for the next call."""
    kept = Path(tempfile.gettempdir()) / f"second_day_{folder.parent.name}_{folder.name}.npz"
    if kept.is_file():
        with np.load(kept) as stored:
            return stored["features"], stored["labels"]
    import keras_transfer as kt

    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(path, k) for k, name in enumerate(names) for path in sorted((folder / name).iterdir())]
    clf = kt.Classifier("efficientnet_lite0", names)
    found = clf.embed([str(path) for path, _ in files]), np.array([k for _, k in files])
    np.savez(kept, features=found[0], labels=found[1])
    return found


def curve(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], way: str, seed: int
) -> list[float]:
    """Return the accuracies after each step."""
    from keras_transfer.revise.badge import badge
    from keras_transfer.solved.solvers import SOLVERS

    features, labels = train
    rng, classes = np.random.default_rng(seed), int(labels.max()) + 1
    known, accuracies = list(rng.permutation(len(labels))[:START]), []
    for step in range(STEPS + 1):
        head = SOLVERS["logistic"].solve(features[known], labels[known], classes, 0.001)
        accuracies.append(float((head.logits(test[0]).argmax(axis=1) == test[1]).mean()))
        rest = np.setdiff1d(np.arange(len(labels)), known)
        logits = head.logits(features[rest])
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        new = badge(features[rest], shares, STEP, seed + step) if way == "badge" else rng.permutation(len(rest))[:STEP]
        known += rest[new].tolist()
    return accuracies


def main() -> None:
    for name in sys.argv[1:]:
        train, test = features_of(Path(name) / "train"), features_of(Path(name) / "test")
        for way in ("random", "badge"):
            found = np.array([curve(train, test, way, seed) for seed in range(SEEDS)])
            area = found.mean(axis=1)
            print(
                f"{Path(name).name} {way}: area {area.mean():.4f} ± {area.std(ddof=1) / SEEDS**0.5:.4f};",
                " ".join(f"{value:.4f}" for value in found.mean(axis=0)),
                flush=True,
            )


if __name__ == "__main__":
    main()
