"""Split samples into train, val and test: seeded, stratified by class or by each of several labels, groups kept together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_transfer.data import rng
from keras_transfer.data.samples import SPLITS, SampleTable
from keras_transfer.errors import UserError
from keras_transfer.stratify import divide, is_multi


def assign(
    samples: SampleTable,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    limit: int | None = None,
    limit_test: int | None = None,
) -> SampleTable:
    """Assign every sample to a split.

    Splits that come with the data are kept. A missing split is taken from the training samples: first test, then val.
    Each class is represented by its share, and a class of at least 3 samples has one in each split. Groups are moved
    as a whole, so shares are only met as closely as the groups allow. The result depends on the seed and on the sorted
    names, not on where or in what order they were read. Several labels per image: see :mod:`keras_transfer.stratify`.

    Args:
        samples: in canonical order.
        val_fraction: share of val, in [0, 1): of all samples if test is split off too, else of those not in test.
        test_fraction: share of test, in [0, 1); ignored if the data comes with a test split.
        seed: any integer.
        limit: maximum number of samples in train and val together (in train alone if the data comes with a val
            split), stratified. Applied after test is split off and before val is.
        limit_test: maximum number of test samples.

    Returns:
        The samples that are in a split.

    Raises:
        UserError: fractions out of range, a group in two splits, a limit that is too small.
    """
    _check_fractions(val_fraction, test_fraction)
    samples = _join_groups(samples)
    split = samples.split.copy()
    given = set(split.tolist()) - {""}
    split[split == ""] = "train"
    pool_sizes = _counts(samples.labels[split == "train"], len(samples.classes))
    share = val_fraction
    if "test" not in given and test_fraction > 0:
        reserve = 2 if "val" not in given and val_fraction > 0 else 1
        _cut(samples, split, "test", test_fraction, pool_sizes, reserve, seed, rng.SPLIT_TEST)
        share = val_fraction / (1 - test_fraction)
    if limit is not None:
        _limit(samples, split, "train", limit, seed, rng.LIMIT, room=1 + ("val" not in given and val_fraction > 0))
    if limit_test is not None:
        _limit(samples, split, "test", limit_test, seed, rng.LIMIT_TEST)
    if "val" not in given and share > 0:
        _cut(samples, split, "val", share, pool_sizes, 1, seed, rng.SPLIT_VAL)
    samples = replace(samples, split=split)
    used = split != ""
    return samples if used.all() else samples.take(np.flatnonzero(used))


def allocate(sizes: np.ndarray, total: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Distribute `total` over the classes in proportion to their sizes (largest remainders), within bounds.

    Args:
        sizes: int64 (C,).
        total: clipped to [low.sum(), high.sum()].
        low: int64 (C,), minimum of each class.
        high: int64 (C,), maximum; at least `low`.

    Returns:
        int64 (C,) with that sum.
    """
    total = int(np.clip(total, low.sum(), high.sum()))
    ideal = sizes * (total / max(int(sizes.sum()), 1))
    count = np.clip(np.floor(ideal).astype(np.int64), low, high)
    while (missing := total - int(count.sum())) != 0:
        step = 1 if missing > 0 else -1
        free = np.flatnonzero(count < high if step > 0 else count > low)
        order = np.argsort(-step * (ideal - count)[free], kind="stable")
        count[free[order[: abs(missing)]]] += step
    return count


def apply_table(samples: SampleTable, table: dict[str, str]) -> SampleTable:
    """Restore splits that were saved with `Dataset.split_table`.

    Args:
        samples: the samples.
        table: image name → split; samples that are not in it are dropped.

    Raises:
        UserError: a name in the table is not in the data, or its split is invalid.
    """
    names = samples.names()
    gone = sorted(set(table) - set(names))
    if gone:
        raise UserError(f"{len(gone)} images of the saved split are not in the data, e.g. {gone[0]!r}")
    odd = sorted(set(table.values()) - set(SPLITS))
    if odd:
        raise UserError(f"the saved split names {odd[0]!r}: expected one of {', '.join(SPLITS)}")
    split = np.array([table.get(name, "") for name in names], object)
    left = int((split == "").sum())
    notes = (*samples.notes, f"skipped: {left} images that are not in the saved split") if left else samples.notes
    return replace(samples, split=split, notes=notes).take(np.flatnonzero(split != ""))


def _check_fractions(val_fraction: float, test_fraction: float) -> None:
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise UserError(f"{name} must be at least 0 and below 1, received {value}")
    if val_fraction + test_fraction >= 1:
        raise UserError(
            f"val_fraction and test_fraction must add up to less than 1, received {val_fraction} and {test_fraction}"
        )


def _counts(labels: np.ndarray, classes: int) -> np.ndarray:
    counts = labels.sum(axis=0) if is_multi(labels) else np.bincount(labels, minlength=classes)
    return np.asarray(counts, np.int64)


def _pick(labels: np.ndarray, count: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Return the positions of `count[c]` random samples of every class c, ascending."""
    order = rng.permutation(len(labels), seed, stream)
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = _counts(labels, len(count))
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < count[labels[order]]])


def _cut(
    samples: SampleTable,
    split: np.ndarray,
    name: str,
    fraction: float,
    before: np.ndarray,
    reserve: int,
    seed: int,
    stream: int,
) -> None:
    """Move a fraction of the training samples to the split `name`, in place.

    Classes that had at least 3 samples (`before`, int64 (C,)) give at least one and keep `reserve`; others keep one.
    """
    pool = np.flatnonzero(split == "train")
    labels = samples.labels[pool]
    sizes = _counts(labels, len(samples.classes))
    total = round(fraction * len(pool))
    if samples.is_multi:
        groups = None if samples.groups is None else _own_groups(samples.groups[pool])
        order = rng.permutation(len(pool), seed, stream)
        chosen = np.flatnonzero(divide(labels, (1 - fraction, fraction), order, groups))
    elif samples.groups is None:
        high = np.maximum(sizes - np.where(before >= 3, reserve, 1), 0)
        low = np.minimum((before >= 3).astype(np.int64), high)
        chosen = _pick(labels, allocate(sizes, total, low, high), seed, stream)
    else:
        chosen = _pick_groups(labels, samples.groups[pool], sizes, fraction, seed, stream)
    split[pool[chosen]] = name


def _pick_groups(
    labels: np.ndarray, groups: np.ndarray, sizes: np.ndarray, fraction: float, seed: int, stream: int
) -> np.ndarray:
    """Return the positions of whole groups whose class counts come close to `fraction` of each class.

    Greedy, largest groups first, as in scikit-learn's StratifiedGroupKFold: a group is taken if that brings the class
    shares closer to the target. The last samples of a class are never taken.
    """
    members: dict[object, list[int]] = defaultdict(list)
    for i, group in enumerate(groups.tolist()):
        members[group if group != "" else ("", i)].append(i)
    keys = list(members)
    shuffled = [keys[i] for i in rng.permutation(len(keys), seed, stream)]
    shuffled.sort(key=lambda key: -len(members[key]))
    target, taken = fraction * sizes, np.zeros(len(sizes), np.int64)
    chosen: list[int] = []

    def gain(here: np.ndarray, add: np.ndarray) -> float:
        miss = target[here] - taken[here]
        return float(((miss**2 - (miss - add) ** 2) / sizes[here] ** 2).sum())

    def possible(here: np.ndarray, add: np.ndarray) -> bool:
        return bool((taken[here] + add < sizes[here]).all())

    for key in shuffled:
        here, add = np.unique(labels[members[key]], return_counts=True)
        if possible(here, add) and gain(here, add) > 0:
            taken[here] += add
            chosen += members[key]
    if not chosen:  # every group is larger than the share: the smallest is closest
        for key in reversed(shuffled):
            if possible(*np.unique(labels[members[key]], return_counts=True)):
                chosen = members[key]
                break
    return np.array(sorted(chosen), np.int64)


def _own_groups(groups: np.ndarray) -> np.ndarray:
    """Return a number for each sample's group, of its own for a sample without one, int64 (n,)."""
    names = [str(name) or f"\0{number}" for number, name in enumerate(groups.tolist())]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def _limit(
    samples: SampleTable, split: np.ndarray, name: str, limit: int, seed: int, stream: int, room: int = 1
) -> None:
    """Keep at most `limit` samples of a split, in place; every class keeps `room` samples where the limit allows."""
    pool = np.flatnonzero(split == name)
    if limit < 1:
        raise UserError(f"limit must be at least 1, received {limit}")
    if len(pool) <= limit:
        return
    labels = samples.labels[pool]
    if samples.is_multi:
        order = rng.permutation(len(pool), seed, stream)
        kept = order[divide(labels, (limit, len(pool) - limit), order)[order] == 0][:limit]
        split[pool] = ""
        split[pool[kept]] = name
        return
    sizes = _counts(labels, len(samples.classes))
    present = int((sizes > 0).sum())
    if limit < present and name == "train":
        raise UserError(f"limit={limit} is too small: expected at least one image for each of the {present} classes")
    low = np.minimum(sizes, min(room, limit // present))
    kept = _pick(labels, allocate(sizes, limit, low, sizes), seed, stream)
    split[pool] = ""
    split[pool[kept]] = name


def _join_groups(samples: SampleTable) -> SampleTable:
    """Assign the remaining samples of a group to the split that the group is already in."""
    if samples.groups is None:
        return samples
    home: dict[str, str] = {}
    for group, split in zip(samples.groups.tolist(), samples.split.tolist()):
        if group != "" and split != "" and home.setdefault(group, split) != split:
            raise UserError(f"the group {group!r} is in two splits: {home[group]} and {split}")
    joined = [s or home.get(g, "") for g, s in zip(samples.groups.tolist(), samples.split.tolist())]
    return replace(samples, split=np.array(joined, object))


def missing_from(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes without a sample."""
    return [classes[c] for c in np.flatnonzero(_counts(labels, len(classes)) == 0).tolist()]
