"""Folds for cross-validation: stratified by class, and groups of samples that belong together stay together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.stratify import divide, is_multi

NEAR_DUPLICATE = 0.95
"""Cosine of centred features above which two pictures count as one.

The same picture stored anew or slightly recoloured moves its features by some tens of per cent of their norm at most, and a change of ε
lowers the cosine by about ε²/2. Different pictures of one class share the direction of their class and differ in the rest. Where they do
exceed the threshold, as textures may, little is lost: they are in one fold.
"""

FOLD_SEED = 0  # of all divisions: what they decide is then the same for every seed of a run
_BLOCK = 1024
_FILTER = 64  # principal axes in which candidates are searched
_FEW = 2048  # rows up to which the search needs no filter


def choose_folds(labels: np.ndarray) -> tuple[int, int]:
    """Return the number of folds and of repeats for labels (n,).

    Five folds; small sets are repeated with other folds, because the figures depend on them, and above 5,000 samples three will do.
    """
    n = len(labels)
    if n > 5000:
        return 3, 1
    return 5, 1 if n >= 300 else 2 if n >= 150 else 3


def fold_numbers(
    labels: np.ndarray, folds: int, repeats: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the fold of each sample, int64 (repeats, n), from 0.

    There are fewer folds than asked for, but at least 2, if the smallest class has fewer samples (or groups). Classes with only one do
    not count: some fold is left without them in any case.

    Args:
        labels: integers (n,), or 0 and 1 (n, C): several labels for a sample.
        folds: number of folds, at least 2.
        repeats: number of times that the samples are divided anew.
        seed: of the division.
        groups: (n,), samples of equal value are in one fold; None: each on its own.

    Raises:
        UserError: fewer than two folds or samples, or only one group.
    """
    if is_multi(labels):
        return _of_several(labels, folds, repeats, seed, groups)
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if folds < 2 or repeats < 1:
        raise UserError(f"folds: expected at least 2 folds and 1 repeat, got {folds} and {repeats}")
    if not len(labels) or units.max() == 0:
        raise UserError(
            f"cross-validation needs two samples that do not belong together, got {len(labels)} in one group"
        )
    sizes = np.array([len(np.unique(units[labels == label])) for label in np.unique(labels)])
    folds = max(2, min([folds, units.max() + 1, *sizes[sizes > 1]]))
    found = np.zeros((repeats, len(labels)), np.int64)
    for repeat, numbers in enumerate(found):
        options = {"n_splits": folds, "shuffle": True, "random_state": seed + repeat}
        if sizes.max() < 2:  # nothing to stratify
            splits = KFold(**options).split(np.arange(units.max() + 1))
            splits = ((None, np.flatnonzero(np.isin(units, held))) for _, held in splits)
        elif len(np.unique(units)) == len(labels):
            splits = _quiet(StratifiedKFold(**options).split(labels, labels))
        else:
            splits = _quiet(StratifiedGroupKFold(**options).split(labels, labels, units))
        for number, (_, held) in enumerate(splits):
            numbers[held] = number
    return found


def _of_several(labels: np.ndarray, folds: int, repeats: int, seed: int, groups: np.ndarray | None) -> np.ndarray:
    """Return the fold of each sample that may have several labels: each label has its share in every fold, as far as that can be."""
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if not len(labels) or units.max() == 0:
        raise UserError(
            f"cross-validation needs two samples that do not belong together, got {len(labels)} in one group"
        )
    folds = min(folds, int(units.max()) + 1)
    orders = [np.random.default_rng([seed, repeat]).permutation(len(labels)) for repeat in range(repeats)]
    return np.stack([divide(labels, [1.0] * folds, order, units) for order in orders])


def folds_of(labels: np.ndarray, features: np.ndarray, groups: np.ndarray | None = None, folds: int = 0) -> np.ndarray:
    """Return the folds in which training images are judged, int64 (repeats, n): groups and near duplicates are in one fold.

    Where all images of a class are near duplicates of each other, as to a network that has not been trained, that says nothing, and only
    the given groups count.

    Args:
        labels: integers (n,).
        features: float (n, d).
        groups: (n,), or None: each sample on its own.
        folds: number of folds, once; 0: the numbers of :func:`choose_folds`.

    Raises:
        UserError: fewer than two samples, or only one group.
    """
    number, repeats = (folds, 1) if folds else choose_folds(labels)
    given = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    tied = tie_near_duplicates(groups, features)
    if is_multi(labels):
        return fold_numbers(labels, number, repeats, FOLD_SEED, tied if tied.max() + 1 >= 2 * number else given)
    for label in np.unique(labels):
        if len(np.unique(tied[labels == label])) < 2 <= len(np.unique(given[labels == label])):
            tied = given
    return fold_numbers(labels, number, repeats, FOLD_SEED, tied)


def tie_near_duplicates(
    groups: np.ndarray | None,
    features: np.ndarray,
    threshold: float = NEAR_DUPLICATE,
    mirrored: np.ndarray | None = None,
) -> np.ndarray:
    """Return the groups, joined where pictures are nearly the same, int64 (n,).

    Two pictures are nearly the same if the cosine of their centred features is above ``threshold``, or that of one and the mirror image
    of the other. A copy of a training picture in another fold would make a head look better than it is.

    Candidates are searched in 64 principal axes, where no two rows are further apart than in all, so none is missed; 50,000 rows take
    tens of megabytes.

    Args:
        groups: (n,), or None: each sample on its own.
        features: float (n, d).
        threshold: cosine, 0 … 1.
        mirrored: float (n, d), features of the mirror images.
    """
    n = len(features)
    found = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    rows = np.asarray(features, np.float32)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = _unit(rows - mean)
    for others in [rows] if mirrored is None else [rows, _unit(np.asarray(mirrored, np.float32) - mean)]:
        found = _tie(found, rows, others, threshold)
    return np.asarray(np.unique(found, return_inverse=True)[1], np.int64)


def _tie(found: np.ndarray, rows: np.ndarray, others: np.ndarray, threshold: float) -> np.ndarray:
    """Join the groups of each pair of a row and one of the others whose cosine is above the threshold."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(rows)
    few, few_others = rows, others
    if n > _FEW and rows.shape[1] > _FILTER:
        axes = np.linalg.eigh(rows.T @ rows)[1][:, -_FILTER:]
        few, few_others = rows @ axes, others @ axes
    squares = np.square(few_others).sum(axis=1)
    furthest = 2 * (1 - threshold) + 1e-5  # squared distance of unit vectors with that cosine, and rounding
    for first in range(0, n, _BLOCK):
        block = few[first : first + _BLOCK]
        distance = squares - 2 * (block @ few_others.T) + np.square(block).sum(axis=1)[:, None]
        a, b = np.nonzero(distance <= furthest)
        a, b = a[a + first != b] + first, b[a + first != b]
        same = np.concatenate([np.empty(0, bool), *(
            np.einsum("ij,ij->i", rows[a[k : k + _BLOCK]], others[b[k : k + _BLOCK]]) > threshold
            for k in range(0, len(a), _BLOCK)
        )])  # fmt: skip
        if same.any():
            links = coo_matrix((np.ones(same.sum(), bool), (found[a[same]], found[b[same]])), (n, n))
            found = connected_components(links, directed=False)[1][found]
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    """Divide by the norm. Rows of zeros, which are equal, get a direction of their own: a column more."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.hstack([rows / np.where(norms > 0, norms, 1), norms == 0], dtype=np.float32)


def _quiet(splits: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keep scikit-learn from warning of a class with one sample, which is allowed here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield from splits
