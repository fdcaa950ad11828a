"""One look at every picture: what `doctor` needs to know of it, from a single reading and decoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from keras_transfer.data.manifest import ImageStore, Manifest
from keras_transfer.data.store import BadImage, EncodedPicture
from keras_transfer.data.verify import resolve_workers

THUMB = 16
NEAR_BITS = 48
"""Difference hashes of near duplicates differ in at most so many of their 240 bits (of others, in about 120)."""
NEAR_CORRELATION = 0.97
"""… and their thumbnails correlate at least so much."""
MAX_COMPARED = 60_000
"""Pictures that are compared with each other (2 × 10⁹ pairs)."""
_BLOCK = 128


@dataclass(frozen=True)
class Examined:
    """What is known about each picture of a manifest, in its order.

    Attributes:
        errors: why it cannot be read, or an empty string.
        digests: 16 bytes that equal pictures share; empty for those that cannot be read.
        formats: what the content is (`decode.format_of`); empty for pictures in memory.
        sides: int64 (n,), the shorter side in pixels; 0 for those that cannot be read.
        thumbs: uint8 (n, 16, 16), grey.
    """

    errors: list[str]
    digests: list[bytes]
    formats: list[str]
    sides: np.ndarray
    thumbs: np.ndarray

    def copies(self) -> list[list[int]]:
        """Groups of pictures that are the same byte for byte."""
        groups: dict[bytes, list[int]] = defaultdict(list)
        for i, digest in enumerate(self.digests):
            if digest:
                groups[digest].append(i)
        return [group for group in groups.values() if len(group) > 1]

    def alike(self) -> list[tuple[int, int]]:
        """Pairs that look the same but are not copies: another format, size, quality or a small change.

        Difference hashes (N. Krawetz, 2013) across and down, of which all pairs are compared, and then the
        thumbnails themselves. Pictures with hardly any contrast are left out: they all look the same.
        """
        usable = np.flatnonzero((self.sides > 0) & (self.thumbs.std(axis=(1, 2)) > 4))
        if len(usable) > MAX_COMPARED:
            return []
        codes = _hashes(self.thumbs[usable])
        found = []
        for a, b in _close_pairs(codes):
            i, j = int(usable[a]), int(usable[b])
            same = np.corrcoef(self.thumbs[i].ravel(), self.thumbs[j].ravel())[0, 1] >= NEAR_CORRELATION
            if same and self.digests[i] != self.digests[j]:
                found.append((i, j))
        return found


def examine(manifest: Manifest, workers: int | str = "auto") -> Examined:
    """Read and decode every picture once, in threads."""
    count = len(manifest)
    thumbs = np.zeros((count, THUMB, THUMB), np.uint8)
    sides = np.zeros(count, np.int64)
    errors, digests, formats = [""] * count, [b""] * count, [""] * count

    def look(i: int) -> None:
        try:
            formats[i], digests[i], sides[i], thumbs[i] = _look(manifest.images, i)
        except BadImage as error:
            errors[i] = error.reason

    with ThreadPoolExecutor(max(resolve_workers(workers), 1), thread_name_prefix="kt-examine") as pool:
        for _ in pool.map(look, range(count)):
            pass
    return Examined(errors, digests, formats, sides, thumbs)


def _look(images: ImageStore, i: int) -> tuple[str, bytes, int, np.ndarray]:
    import cv2

    picture = images.open(i)
    pixels = picture.pixels()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.shape[2] == 3 else pixels[..., 0]
    thumb = cv2.resize(np.ascontiguousarray(grey), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    kind = picture.format if isinstance(picture, EncodedPicture) else ""
    return kind, picture.digest(), min(picture.height, picture.width), thumb


def _hashes(thumbs: np.ndarray) -> np.ndarray:
    """Whether each pixel is brighter than its left and its upper neighbour: uint64 (n, 4), the last bits zero."""
    across = thumbs[:, ::2, 1:] > thumbs[:, ::2, :-1]
    down = thumbs[:, 1:, ::2] > thumbs[:, :-1, ::2]
    bits = np.concatenate([across.reshape(len(thumbs), -1), down.reshape(len(thumbs), -1)], axis=1)
    packed = np.packbits(bits, axis=1)
    padded = np.zeros((len(thumbs), 32), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def _close_pairs(codes: np.ndarray) -> Iterator[tuple[int, int]]:
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        distance = np.zeros((len(block), len(codes) - start), np.uint16)
        for word in range(codes.shape[1]):
            distance += _bit_count(block[:, word, None] ^ codes[None, start:, word])
        for a, b in np.argwhere(distance <= NEAR_BITS).tolist():
            if b > a:
                yield start + a, start + b


_BITS = np.array([bin(k).count("1") for k in range(1 << 16)], np.uint8)


def _bit_count(words: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words)
    return _BITS[words.view(np.uint16)].reshape(*words.shape, 4).sum(axis=-1, dtype=np.uint16)
