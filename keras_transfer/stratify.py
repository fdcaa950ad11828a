"""Dividing samples that may have several labels each, so that every part has its share of every label.

Iterative stratification: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011. The rarest label
is divided first, because nothing can be made up for it later. Groups of samples are moved as a whole, which the implementations at hand
do not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def is_multi(labels: np.ndarray) -> bool:
    """Return whether these are labels (n, C), several for a sample, rather than a class number (n,) for each."""
    return labels.ndim == 2


def divide(
    labels: np.ndarray, shares: Sequence[float], order: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the part of each sample, int64 (n,), from 0.

    Args:
        labels: 0 or 1, (n, C); samples without any label count as well.
        shares: of the parts, positive; they are scaled to a sum of 1.
        order: int (n,), a permutation: what is equal otherwise is assigned in this order.
        groups: (n,), samples of equal value are in one part; None: each on its own.
    """
    counts, sizes, unit_of = _units(labels, order, groups)
    parts = np.asarray(shares, np.float64) / np.sum(shares)
    room = sizes.sum() * parts  # samples that each part still wants, (k,)
    wanted = counts.sum(axis=0)[:, None] * parts  # the same of each label, (C, k)
    left = counts.sum(axis=0)
    found = np.full(len(sizes), -1, np.int64)

    def assign(unit: int, label: int | None) -> None:
        first = room if label is None else wanted[label]
        close = np.flatnonzero(first >= first.max() - 1e-9)
        part = int(close[room[close].argmax()])
        found[unit] = part
        room[part] -= sizes[unit]
        wanted[:, part] -= counts[unit]

    while left.any():
        label = int(np.where(left > 0, left, left.max() + 1).argmin())
        here = np.flatnonzero((counts[:, label] > 0) & (found < 0))
        for unit in here:
            assign(int(unit), label)
        left = left - counts[here].sum(axis=0)
    for unit in np.flatnonzero(found < 0):
        assign(int(unit), None)
    return found[unit_of]


def _units(
    labels: np.ndarray, order: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (u, C) and size (u,) of what is moved as a whole, in order (groups: the largest first), and the unit of each sample."""
    n = len(labels)
    keys = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    first = np.full(keys.max(initial=-1) + 1, n)
    np.minimum.at(first, keys, place)
    sizes = np.bincount(keys)
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    unit_of = rank[keys]
    counts = np.zeros((len(sizes), labels.shape[1]), np.int64)
    np.add.at(counts, unit_of, labels.astype(np.int64))
    return counts, np.bincount(unit_of), unit_of
