"""A data set ready for training: samples in three splits, and how images become arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from keras_transfer.data.images.store import BadImage
from keras_transfer.data.samples import SPLITS, SampleTable, fingerprint
from keras_transfer.errors import UserError, nearest
from keras_transfer.options import Color, Resize

_MAX_CLASSES_SHOWN = 20


class Split:
    """The samples of one split.

    Attributes:
        name: "train", "val" or "test".
        samples: the samples of the whole data set.
        indices: int64 (n,), rows of `samples`, ascending.
        classes: class names.
        labels: int64 (n,).
        weights: float32 (n,), or None if the data has no sample weights.
    """

    def __init__(self, name: str, samples: SampleTable, indices: np.ndarray):
        self.name, self.samples, self.indices = name, samples, np.asarray(indices, np.int64)
        self.classes = samples.classes
        self.labels = samples.labels[self.indices]
        self.weights = None if samples.weights is None else samples.weights[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each sample, object (n,), with a name of its own for each sample that has none; None without groups."""
        groups = self.samples.groups
        if groups is None:
            return None
        return np.array([str(name) or f"\0{number}" for number, name in enumerate(groups[self.indices])], object)

    def image_name(self, i: int) -> str:
        """Return the name of sample i: for files, the path relative to the data's folder."""
        return self.samples.images.name(int(self.indices[i]))

    def read(self, i: int) -> np.ndarray:
        """Return image i in its original size, uint8 (h, w, 3) RGB; raises BadImage."""
        return self.samples.images.read(int(self.indices[i]))

    def digests(self) -> np.ndarray:
        """Return a number for the content of each image, uint64 (n,): copies have the same; 0 for unreadable ones."""

        def digest(i: int) -> int:
            try:
                return int.from_bytes(self.samples.images.open(int(self.indices[i])).digest()[:8], "little")
            except BadImage:
                return 0

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return np.fromiter(pool.map(digest, range(len(self)), chunksize=64), np.uint64, len(self))

    def counts(self) -> np.ndarray:
        """Return the number of samples of each class, int64 (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, positions: np.ndarray) -> Split:
        """Return a smaller split with the samples at these positions."""
        return Split(self.name, self.samples, self.indices[np.asarray(positions, np.int64)])

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} images, {len(self.classes)} classes)"


@dataclass(frozen=True)
class Dataset:
    """Images divided into train, val and test.

    Attributes:
        samples: every sample, with its split.
        image_size: (height, width) of the model's input; None: the backbone's default.
        color: "rgb" (3 channels) or "grey" (1).
        resize: how images of another aspect ratio are fitted: "squash" distorts, "crop" cuts, "pad" adds a border.
        skipped: (name, reason) of the images that were skipped because they cannot be read.
    """

    samples: SampleTable
    image_size: tuple[int, int] | None = None
    color: Color = "rgb"
    resize: Resize = "squash"
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.samples.classes

    @cached_property
    def train(self) -> Split:
        """Training samples."""
        return self._split("train")

    @cached_property
    def val(self) -> Split:
        """Validation samples; may be empty."""
        return self._split("val")

    @cached_property
    def test(self) -> Split:
        """Test samples; may be empty."""
        return self._split("test")

    @cached_property
    def all(self) -> Split:
        """All samples, regardless of split."""
        return Split("all", self.samples, np.arange(len(self.samples)))

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """Return the same images with labels that index `classes`, matched by name.

        Raises:
            UserError: a class of the data is not among them.
        """
        place = {name: i for i, name in enumerate(classes)}
        foreign = [name for name in self.classes if name not in place]
        if foreign:
            raise UserError(
                f"{self.samples.source}: the class {foreign[0]!r} is not one of the model's"
                f"{nearest(foreign[0], classes)} (it has: {', '.join(list(classes)[:20])})"
            )
        moved = np.array([place[name] for name in self.classes], np.int64)[self.samples.labels]
        return replace(self, samples=replace(self.samples, classes=tuple(classes), labels=moved))

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the data; see `samples.fingerprint`."""
        return fingerprint(self.samples)

    def _split(self, name: str) -> Split:
        return Split(name, self.samples, np.flatnonzero(self.samples.split == name))

    def split_table(self) -> dict[str, str]:
        """Return sample name → split, to be saved as JSON and passed as `split_table=` to restore the splits."""
        return dict(zip(self.samples.names(), self.samples.split.tolist()))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(getattr(self, name))}" for name in SPLITS)
        return f"Dataset({self.samples.source}: {len(self.classes)} classes, {sizes})"

    def class_counts(self) -> list[tuple[str, list[int]]]:
        """Return (class, [train, val, test counts]); of many classes, only the largest and the smallest."""
        table = np.stack([getattr(self, name).counts() for name in SPLITS], axis=1)
        order = np.arange(len(table))
        if len(table) > _MAX_CLASSES_SHOWN:
            order = np.argsort(-table.sum(axis=1), kind="stable")
            order = np.concatenate([order[: _MAX_CLASSES_SHOWN // 2], order[-_MAX_CLASSES_SHOWN // 2 :]])
        return [(self.classes[c], table[c].tolist()) for c in order]

    def details(self) -> list[str]:
        """Return lines on input size, colour, weights, notes and skipped images."""
        size = "the backbone's default size" if self.image_size is None else "{} x {}".format(*self.image_size)
        lines = [f"input: {size}, {self.color}, {self.resize}"]
        if self.samples.weights is not None:
            lines.append("with sample weights")
        if self.samples.groups is not None:
            lines.append("groups are kept together")
        lines += self.samples.notes
        if self.skipped:
            lines.append(f"skipped: {len(self.skipped)} unreadable images, e.g. {self.skipped[0][0]}")
        return lines

    def summary(self) -> str:
        """Return a text table of classes and splits."""
        rows = self.class_counts()
        width = max(len("class"), len("all"), *(len(name) for name, _ in rows))
        lines = [self.samples.source, f"{'class':<{width}}" + "".join(f"{s:>9}" for s in SPLITS)]
        half = len(rows) // 2 if len(self.classes) > len(rows) else None
        for k, (name, counts) in enumerate(rows):
            if k == half:
                lines.append(f"… {len(self.classes) - len(rows)} more classes")
            lines.append(f"{name:<{width}}" + "".join(f"{n:>9,}" for n in counts))
        lines.append(f"{'all':<{width}}" + "".join(f"{len(getattr(self, s)):>9,}" for s in SPLITS))
        return "\n".join([*lines, *self.details()])
