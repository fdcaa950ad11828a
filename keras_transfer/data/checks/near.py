"""Near duplicates among thumbnails: the same image in another format, size, quality or brightness.

Two thumbnails are near duplicates if few bits of their difference hashes differ (N. Krawetz, 2013), horizontal and vertical, and their
pixels correlate. All pairs of some images are compared; of many, those that locality-sensitive hashing brings together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NEAR_BITS = 48
"""Largest Hamming distance of the 240-bit difference hashes of near duplicates (about 120 for other pairs)."""
NEAR_CORRELATION = 0.97
"""Smallest correlation of the thumbnails of near duplicates."""
MAX_COMPARED = 60_000
"""Number of images up to which all pairs are compared (2 × 10⁹)."""
DRAWS, DRAWN_BITS = 24, 20
NEIGHBOURS = 256
"""Images with equal bits that an image is compared with in each draw, at most."""
_BLOCK, _MANY = 256, 1 << 16


@dataclass(frozen=True)
class Near:
    """What was found.

    Attributes:
        groups: int64 (n,), the same number for images that are near duplicates of each other, directly or by others between them.
        crowded: number of images that had equal bits with more than `NEIGHBOURS` others, not all near duplicates, so that not all were compared.
        compared: number of pairs that were compared.
    """

    groups: np.ndarray
    crowded: int
    compared: int


def near_duplicates(thumbs: np.ndarray) -> Near:
    """Return groups of near duplicates: by all pairs of up to `MAX_COMPARED` thumbnails, by most of more.

    Args:
        thumbs: uint8 (n, 16, 16), none of them uniform.
    """
    if len(thumbs) < 2:
        return Near(np.arange(len(thumbs)), 0, 0)
    if len(thumbs) > MAX_COMPARED:
        return hashed_groups(thumbs)
    a, b = close_pairs(thumbs).T
    return Near(_joined(np.arange(len(thumbs)), a, b), 0, len(thumbs) * (len(thumbs) - 1) // 2)


def close_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Return pairs of near-duplicate thumbnails as int64 (m, 2) indices, smaller index first; all pairs are compared.

    Args:
        thumbs: uint8 (n, 16, 16), none of them uniform.
    """
    codes, unit = difference_hashes(thumbs), _centred(thumbs)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(unit), _BLOCK):
        a, b = np.nonzero(unit[start : start + _BLOCK] @ unit[start:].T >= NEAR_CORRELATION)
        a, b = a[b > a] + start, b[b > a] + start
        near = _bit_count(codes[a] ^ codes[b]) <= NEAR_BITS
        found.append(np.stack([a[near], b[near]], axis=1))
    return np.concatenate(found)


def hashed_groups(thumbs: np.ndarray) -> Near:
    """Return nearly the groups that the pairs of `close_pairs` make, in time that grows as n log n.

    Locality-sensitive hashing by bit sampling (Indyk and Motwani, "Approximate nearest neighbors", STOC 1998): images whose hashes agree in
    20 random bits are compared, for 24 draws of bits. A pair that differs in 5 % of the bits is found with a probability of
    1 − (1 − 0.95²⁰)²⁴ > 0.9999, in 10 % with 0.95, and in 20 %, the limit, with 0.24.

    Of images with equal hashes, all are compared with the first; those that are like it join its group, and it stands for them afterwards.
    What is in one group already is not compared again. Where more than 256 images agree in the bits drawn, the other bits, in a random
    order, decide which are compared.

    Args:
        thumbs: uint8 (n, 16, 16), none of them uniform.
    """
    codes = difference_hashes(thumbs)
    firsts, linked = _equal_hashes(thumbs, codes)
    groups = _joined(np.arange(len(thumbs)), *linked)
    words = np.zeros((len(firsts), 32), np.uint8)
    words[:, : codes.shape[1]] = codes[firsts]
    search = _Search(thumbs, codes[firsts], words.view(np.uint64), firsts, groups)
    generator = np.random.default_rng(0)
    for _ in range(DRAWS):
        search.draw(generator.permutation(codes.shape[1] * 8))
    return Near(search.groups, int(search.crowded.sum()), search.compared + len(codes) - len(firsts))


def difference_hashes(thumbs: np.ndarray) -> np.ndarray:
    """Return whether pixels are brighter than their left and upper neighbours, as packed bits: uint8 (n, 30)."""
    parts = []
    for start in range(0, len(thumbs), _MANY):
        some = thumbs[start : start + _MANY]
        across, down = some[:, ::2, 1:] > some[:, ::2, :-1], some[:, 1:, ::2] > some[:, :-1, ::2]
        bits = np.concatenate([across.reshape(len(some), -1), down.reshape(len(some), -1)], axis=1)
        parts.append(np.packbits(bits, axis=1))
    return np.concatenate(parts)


def _equal_hashes(thumbs: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that stand for themselves, int64 (u,), and pairs of the one that stands for them and each other, int64 (2, m)."""
    _, first, inverse = np.unique(_keys(codes), return_index=True, return_inverse=True)
    firsts = first[inverse.ravel()]
    others = np.flatnonzero(firsts != np.arange(len(codes)))
    alike = [
        _correlate(thumbs, firsts[others[k : k + _MANY]], others[k : k + _MANY]) for k in range(0, len(others), _MANY)
    ]
    linked = others[np.concatenate(alike)] if alike else others
    stands = np.ones(len(codes), bool)
    stands[linked] = False
    return np.flatnonzero(stands), np.stack([firsts[linked], linked])


class _Search:
    """Draws of bits, and what they have found.

    Args:
        thumbs: of all images.
        codes: uint8 (u, 30), different hashes.
        words: uint64 (u, 4), the same.
        firsts: int64 (u,), the image that each is of.
        groups: int64 (n,), see :class:`Near`; changed.
    """

    def __init__(
        self, thumbs: np.ndarray, codes: np.ndarray, words: np.ndarray, firsts: np.ndarray, groups: np.ndarray
    ):
        self.thumbs, self.codes, self.words, self.firsts, self.groups = thumbs, codes, words, firsts, groups
        self.crowded, self.compared = np.zeros(len(codes), bool), 0

    def draw(self, bits: np.ndarray) -> None:
        """Compare the hashes that agree in the first bits of an order of all."""
        turned = [
            np.packbits(np.unpackbits(self.codes[k : k + _MANY], axis=1)[:, bits], axis=1)
            for k in range(0, len(self.codes), _MANY)
        ]
        keys = np.concatenate(turned)
        order = np.argsort(_keys(keys), kind="stable")
        head = np.zeros((len(order), 4), np.uint8)
        head[:, 1:] = keys[order, :3]
        drawn = head.view(">u4").ravel() >> (24 - DRAWN_BITS)
        here = np.arange(len(order))
        for step in range(1, NEIGHBOURS + 2):
            here = here[here < len(order) - step]
            here = here[drawn[here] == drawn[here + step]]
            if step > NEIGHBOURS or not len(here):
                break
            for k in range(0, len(here), _MANY):
                self._compare(order[here[k : k + _MANY]], order[here[k : k + _MANY] + step])
        a, b = order[here], order[here + step]
        self.crowded[a[self._apart(a, b)]] = True

    def _apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return whether pairs are in different groups, bool (m,)."""
        apart: np.ndarray = self.groups[self.firsts[a]] != self.groups[self.firsts[b]]
        return apart

    def _compare(self, a: np.ndarray, b: np.ndarray) -> None:
        """Join the groups of the pairs that are near duplicates."""
        new = self._apart(a, b)
        a, b = a[new], b[new]
        self.compared += len(a)
        near = _distances(self.words, a, b) <= NEAR_BITS
        a, b = self.firsts[a[near]], self.firsts[b[near]]
        alike = _correlate(self.thumbs, a, b)
        if alike.any():
            self.groups = _joined(self.groups, a[alike], b[alike])


def _joined(groups: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return groups, int64 (n,), of which those of the images a and b are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = (np.ones(len(a), bool), (groups[a], groups[b]))
    found: np.ndarray = connected_components(coo_array(edges, (len(groups), len(groups))), directed=False)[1]
    joined: np.ndarray = found.astype(np.int64)[groups]
    return joined


def _keys(codes: np.ndarray) -> np.ndarray:
    """Return packed bits as one sortable value a row."""
    codes = np.ascontiguousarray(codes)
    keys: np.ndarray = codes.view(f"S{codes.shape[1]}").ravel()
    return keys


def _distances(words: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return in how many bits hashes, as uint64 (n, 4), differ."""
    differing = words[a] ^ words[b]
    if hasattr(np, "bitwise_count"):  # NumPy 2
        counted: np.ndarray = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        return counted
    return _bit_count(differing.view(np.uint8))


def _centred(thumbs: np.ndarray) -> np.ndarray:
    """Return thumbnails as vectors with mean 0 and length 1, float32 (n, 256)."""
    unit = thumbs.reshape(len(thumbs), math.prod(thumbs.shape[1:])).astype(np.float32)
    unit -= unit.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit


def _correlate(thumbs: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether pairs of thumbnails correlate as near duplicates do, bool (m,)."""
    alike: np.ndarray = np.einsum("ij,ij->i", _centred(thumbs[a]), _centred(thumbs[b])) >= NEAR_CORRELATION
    return alike


def _bit_count(codes: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.unpackbits(codes, axis=1).sum(axis=1, dtype=np.int64)
    return counts
