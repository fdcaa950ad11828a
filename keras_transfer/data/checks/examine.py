"""Collect what `doctor` needs from every image, reading and decoding each once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from keras_transfer.data.checks.near import Near, near_duplicates
from keras_transfer.data.checks.verify import resolve_workers
from keras_transfer.data.images.depth import Span
from keras_transfer.data.images.protocols import one_pass
from keras_transfer.data.images.store import BadImage, EncodedImage
from keras_transfer.data.samples import ImageStore, SampleTable
from keras_transfer.data.threads import each

THUMB = 16
_BLOCK = 1 << 16


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

    @cached_property
    def near(self) -> Near:
        """Near duplicates among the `usable` images."""
        return near_duplicates(self.thumbs[self.usable])

    @cached_property
    def usable(self) -> np.ndarray:
        """Images that can be compared, int64 (m,): with hardly any contrast, they all look the same."""
        return np.flatnonzero((self.sides > 0) & (self._contrasts() > 4))

    def alike(self) -> list[list[int]]:
        """Return groups of near duplicates: the same image in another format, size, quality or brightness; not only copies."""
        groups: dict[int, list[int]] = defaultdict(list)
        for i, group in zip(self.usable.tolist(), self.near.groups.tolist()):
            groups[group].append(i)
        return [group for group in groups.values() if len({self.digests[i] for i in group}) > 1]

    def _contrasts(self) -> np.ndarray:
        """Return the standard deviation of each thumbnail, float64 (n,), in blocks."""
        found = np.zeros(len(self.thumbs))
        for k in range(0, len(found), _BLOCK):
            found[k : k + _BLOCK] = self.thumbs[k : k + _BLOCK].std(axis=(1, 2))
        return found


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
