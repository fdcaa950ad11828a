"""Collect what `doctor` needs from every image, reading and decoding each once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from keras_transfer.data.checks.verify import resolve_workers
from keras_transfer.data.images.depth import Span
from keras_transfer.data.images.protocols import one_pass
from keras_transfer.data.images.store import BadImage, EncodedImage
from keras_transfer.data.samples import ImageStore, SampleTable
from keras_transfer.data.threads import each

THUMB = 16
NEAR_BITS = 48
"""Largest Hamming distance of the 240-bit difference hashes of near duplicates (about 120 for other pairs)."""
NEAR_CORRELATION = 0.97
"""Smallest correlation of the thumbnails of near duplicates."""
MAX_COMPARED = 60_000
"""Maximum number of images for pairwise comparison (2 × 10⁹ pairs)."""
_BLOCK = 256


@dataclass(frozen=True)
class Examined:
    """What is known about each image, in the order of the samples.

    Attributes:
        errors: why it cannot be read, or an empty string.
        digests: 16-byte hashes of the content; empty for unreadable images.
        formats: format of the content (`decode.format_of`); empty for images in memory.
        sides: int64 (n,), shorter side in pixels; 0 for unreadable images.
        thumbs: uint8 (n, 16, 16), grey.
        ranges: smallest and largest value of each 16-bit image.
    """

    errors: list[str]
    digests: list[bytes]
    formats: list[str]
    sides: np.ndarray
    thumbs: np.ndarray
    ranges: dict[int, Span] = field(default_factory=dict)

    def copies(self) -> list[list[int]]:
        """Return groups of byte-identical images."""
        groups: dict[bytes, list[int]] = defaultdict(list)
        for i, digest in enumerate(self.digests):
            if digest:
                groups[digest].append(i)
        return [group for group in groups.values() if len(group) > 1]

    def alike(self) -> list[list[int]]:
        """Return groups of near duplicates: the same image in another format, size, quality or brightness.

        All pairs are compared by the correlation of their thumbnails and by horizontal and vertical difference hashes
        (N. Krawetz, 2013). Images with hardly any contrast are skipped, since they all look the same.
        """
        usable = np.flatnonzero((self.sides > 0) & (self.thumbs.std(axis=(1, 2)) > 4))
        if not 1 < len(usable) <= MAX_COMPARED:
            return []
        pairs = usable[close_pairs(self.thumbs[usable])]
        pairs = pairs[[self.digests[i] != self.digests[j] for i, j in pairs.tolist()]]
        return _groups(pairs, len(self.sides))


def close_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Return pairs of near-duplicate thumbnails as int64 (m, 2) indices, smaller index first.

    Args:
        thumbs: uint8 (n, 16, 16), none of them uniform.
    """
    codes = difference_hashes(thumbs)
    unit = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    unit -= unit.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = []
    for start in range(0, len(unit), _BLOCK):
        a, b = np.nonzero(unit[start : start + _BLOCK] @ unit[start:].T >= NEAR_CORRELATION)
        a, b = a[b > a] + start, b[b > a] + start
        near = _bit_count(codes[a] ^ codes[b]) <= NEAR_BITS
        found.append(np.stack([a[near], b[near]], axis=1))
    return np.concatenate(found)


def difference_hashes(thumbs: np.ndarray) -> np.ndarray:
    """Return whether pixels are brighter than their left and upper neighbours, as packed bits: uint8 (n, 30)."""
    across = thumbs[:, ::2, 1:] > thumbs[:, ::2, :-1]
    down = thumbs[:, 1:, ::2] > thumbs[:, :-1, ::2]
    bits = np.concatenate([across.reshape(len(thumbs), -1), down.reshape(len(thumbs), -1)], axis=1)
    return np.packbits(bits, axis=1)


def _bit_count(codes: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.unpackbits(codes, axis=1).sum(axis=1, dtype=np.int64)
    return counts


def _groups(pairs: np.ndarray, count: int) -> list[list[int]]:
    """Return the connected components of a graph, given by its edges (m, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    group_of = connected_components(graph, directed=False)[1]
    groups: dict[int, list[int]] = defaultdict(list)
    for i in np.unique(pairs).tolist():
        groups[group_of[i]].append(i)
    return list(groups.values())


def examine(samples: SampleTable, workers: int | str = "auto") -> Examined:
    """Read and decode every image once, in threads."""
    count = len(samples)
    thumbs = np.zeros((count, THUMB, THUMB), np.uint8)
    sides = np.zeros(count, np.int64)
    errors, digests, formats = [""] * count, [b""] * count, [""] * count
    ranges: dict[int, Span] = {}

    def look(i: int) -> None:
        try:
            formats[i], digests[i], sides[i], thumbs[i], values = _look(samples.images, i)
            if values is not None:
                ranges[i] = values
        except BadImage as error:
            errors[i] = error.reason

    each(look, one_pass(samples.images), max(resolve_workers(workers), 1), "kt-examine")
    return Examined(errors, digests, formats, sides, thumbs, ranges)


def _look(images: ImageStore, i: int) -> tuple[str, bytes, int, np.ndarray, Span | None]:
    import cv2

    image = images.open(i)
    pixels = image.pixels()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels[..., 0]
    thumb = cv2.resize(np.ascontiguousarray(grey), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    kind, values = (image.format, image.values) if isinstance(image, EncodedImage) else ("", None)
    return kind, image.digest(), min(image.height, image.width), thumb, values
