"""What pictures without labels are worth, on the features of efficientnet_lite0 at its own size.

    python -m benchmarks.second_day suggest SET [SET …]       chosen for labelling by BADGE, or at random: 20, then 4 × 20 labels
    python -m benchmarks.second_day unlabelled SET [SET …]    5 labels a class, and the other training pictures without labels
    python -m benchmarks.second_day corrected SET [SET …]     40 wrong labels in training, then corrected: what the report names
    python -m benchmarks.second_day added SET [SET …]         a class that comes later, with 30 pictures: a column more, or all solved again

A SET has the folders train/CLASS and test/CLASS.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

SEEDS, START, STEP, STEPS = 5, 20, 20, 4
WRONG = 40  # labels
LATER = 30  # pictures of a class that comes later
LABELS = 5  # of each class, beside pictures without labels


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


def with_unlabelled(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], seed: int
) -> tuple[float, float, bool]:
    """Return the test accuracy with the labelled pictures alone, with the others beside them, and whether those were kept."""
    from keras_transfer.solved.cross_validation import cross_validate
    from keras_transfer.solved.folds import folds_of
    from keras_transfer.solved.self_training import self_train
    from keras_transfer.solved.solvers import SOLVERS

    features, labels = train
    solver, rng, classes = SOLVERS["logistic"], np.random.default_rng(seed), int(labels.max()) + 1
    known = np.concatenate([rng.permutation(np.flatnonzero(labels == label))[:LABELS] for label in range(classes)])
    others = np.setdiff1d(np.arange(len(labels)), known)
    x, y = features[known], labels[known]
    folds = folds_of(y, x)
    found = cross_validate(solver, x, y, classes, folds)
    more = self_train(solver, x, y, classes, folds, features[others], found)
    heads = solver.solve(x, y, classes, found.strength), more.head
    before, after = ((head.logits(test[0]).argmax(axis=1) == test[1]).mean() for head in heads)
    return float(before), float(after), more.accepted


def show_unlabelled(name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
    """Print accuracies, and the gain: that of what was kept."""
    found = [with_unlabelled(train, test, seed) for seed in range(SEEDS)]
    before = np.array([one[0] for one in found])
    gain = np.array([after - first if kept else 0.0 for first, after, kept in found])
    print(
        f"{name}: {before.mean():.4f} without, {(before + gain).mean():.4f} with; gain {gain.mean():+.4f} ± "
        f"{gain.std(ddof=1) / SEEDS**0.5:.4f}; kept {sum(one[2] for one in found)} of {SEEDS};",
        " ".join(f"{value:+.3f}" for value in gain),
        flush=True,
    )


def show_corrected(folder: Path) -> None:
    """Train with wrong labels, retrain with the right ones, and compare the report with the predictions of both models."""
    import keras_transfer as kt

    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    parts = {
        part: [(file.absolute(), name) for name in names for file in sorted((folder / part / name).iterdir())]
        for part in ("train", "test")
    }
    wrong = set(np.random.default_rng(0).permutation(len(parts["train"]))[:WRONG].tolist())
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        for part, rows in parts.items():
            lines = [
                f"{file} {names[(names.index(name) + 1) % len(names)] if part == 'train' and k in wrong else name}"
                for k, (file, name) in enumerate(rows)
            ]
            (work / f"{part}.txt").write_text("\n".join(lines) + "\n")
        right = [f"{file} {name}" for k, (file, name) in enumerate(parts["train"]) if k in wrong]
        (work / "corrections.txt").write_text("\n".join(right) + "\n")
        settings = ["data.source=list", f"data.train={work / 'train.txt'}", f"data.test={work / 'test.txt'}", "data.val_fraction=0",
                    "model.backbone=efficientnet_lite0", "data.image_size=96", "phases=[{name: head, solver: exact}]", "output.report=false"]  # fmt: skip
        old = kt.load(kt.train(kt.load_config(output=str(work / "old"), overrides=settings)).path)
        new = old.retrain(add=work / "corrections.txt", head_only=True, output=work / "new")
        files = [str(file) for file, _ in parts["test"]]
        before, after = ([one.classes[0] for one in model.predict(files)] for model in (old, new))
        changed = {file for file, a, b in zip(files, before, after) if a != b}
        found = new.comparison.found
        named = {one.picture for one in (*found.better, *found.worse, *found.others)}
        print(
            f"{folder.name}: {found.old_accuracy:.4f} before, {found.new_accuracy:.4f} now; {len(found.better)} better, {len(found.worse)} "
            f"worse, {len(found.others)} wrong in another way; p {found.p:.3g}; verdict {found.verdict}; "
            f"the pictures that changed: {'exactly those' if named == changed else f'{len(named ^ changed)} differ'}",
            flush=True,
        )


def with_class(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], new: int
) -> dict[str, tuple[float, float, float]]:
    """Return the accuracy on old and new classes and the log-loss on test pictures of each way to add the class ``new``."""
    from keras_transfer.revise.candidates import Known, best_with_new_class, solved_again, with_column
    from keras_transfer.solved.cross_validation import cross_validate
    from keras_transfer.solved.evidence import losses
    from keras_transfer.solved.folds import folds_of
    from keras_transfer.solved.solvers import SOLVERS

    solver, last = SOLVERS["logistic"], int(train[1].max())
    place = np.argsort([*(label for label in range(last + 1) if label != new), new])  # the new class is the last
    x, y, truth = train[0].astype(np.float64), place[train[1]], place[test[1]]
    old, later = np.flatnonzero(y < last), np.random.default_rng(new).permutation(np.flatnonzero(y == last))[:LATER]
    found = cross_validate(solver, x[old], y[old], last, folds_of(y[old], x[old]))
    head = solver.solve(x[old], y[old], last, found.strength).scaled(found.temperature)
    earlier = np.full((len(old) + len(later), last), np.nan)
    earlier[: len(old)] = found.logits / found.temperature
    rows, none = np.concatenate([old, later]), (np.empty((0, x.shape[1])), np.empty(0, np.int64), None)
    known = Known(x[rows], y[rows], last + 1, None, None, None, *none)
    column = with_column(known, head.kernel, head.bias, earlier)
    ways = {
        "a column": column.head,
        "again": solved_again(known).head,
        "chosen": best_with_new_class(known, column).head,
    }
    before = head.logits(test[0][truth < last]).argmax(axis=1) == truth[truth < last]
    result = {"before": (float(before.mean()), float("nan"), float("nan"))}
    for name, one in ways.items():
        logits = one.logits(test[0])
        right = logits.argmax(axis=1) == truth
        shares = right[truth < last].mean(), right[truth == last].mean()
        result[name] = (float(shares[0]), float(shares[1]), float(losses(logits, truth).mean()))
    return result


def show_added(name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
    """Print the means over three classes that come later."""
    last = int(train[1].max())
    found = [with_class(train, test, new) for new in sorted({0, (last + 1) // 2, last})]
    for way in found[0]:
        old, new, loss = np.mean([one[way] for one in found], axis=0)
        print(f"{name} {way}: old classes {old:.4f}, new class {new:.4f}, log-loss {loss:.4f}", flush=True)


def main() -> None:
    what, *names = sys.argv[1:] or [""]
    if what not in ("suggest", "unlabelled", "corrected", "added"):
        raise SystemExit(__doc__)
    for name in names:
        if what == "corrected":
            show_corrected(Path(name))
            continue
        train, test = features_of(Path(name) / "train"), features_of(Path(name) / "test")
        if what == "unlabelled":
            show_unlabelled(Path(name).name, train, test)
        elif what == "added":
            show_added(Path(name).name, train, test)
        else:
            show_suggested(Path(name).name, train, test)


def show_suggested(name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
    """Print the areas under the accuracy curves."""
    for way in ("random", "badge"):
        found = np.array([curve(train, test, way, seed) for seed in range(SEEDS)])
        area = found.mean(axis=1)
        print(
            f"{name} {way}: area {area.mean():.4f} ± {area.std(ddof=1) / SEEDS**0.5:.4f};",
            " ".join(f"{value:.4f}" for value in found.mean(axis=0)),
            flush=True,
        )


if __name__ == "__main__":
    main()
