"""A data set ready for training: three splits of a samples, and how its images become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from keras_transfer.data.samples import SPLITS, SampleTable, fingerprint
from keras_transfer.errors import UserError, nearest
from keras_transfer.options import Color, Resize

_MAX_CLASSES_SHOWN = 20


class Split:
    """A view of the samples of one split.

    Attributes:
        name: "train", "val" or "test".
        samples: the whole data set's samples.
        indices: int64 (n,), places in the samples, ascending.
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

    def image_name(self, i: int) -> str:
        """Name of sample i of the split: for files the path relative to the data's folder."""
        return self.samples.images.name(int(self.indices[i]))

    def read(self, i: int) -> np.ndarray:
        """Image i of the split as it is: uint8 (h, w, 3) RGB; raises BadImage."""
        return self.samples.images.read(int(self.indices[i]))

    def counts(self) -> np.ndarray:
        """Samples of each class, int64 (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, positions: np.ndarray) -> Split:
        """The split's samples at these positions (a smaller split, e.g. for a quick look)."""
        return Split(self.name, self.samples, self.indices[np.asarray(positions, np.int64)])

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} images, {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        from keras_transfer.notebook.views import of_split

        return of_split(self)


@dataclass(frozen=True)
class Dataset:
    """Images divided into train, val and test.

    Attributes:
        samples: every sample, with its split.
        image_size: (height, width) of the model's input, or None: the backbone's own.
        color: "rgb" (3 channels) or "grey" (1).
        resize: how an image of another shape is fitted: "squash" changes its aspect, "crop" cuts, "pad" adds a border.
        skipped: (name, reason) of the images that were left out because they cannot be read.
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
        """Every sample, whatever its split."""
        return Split("all", self.samples, np.arange(len(self.samples)))

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """The same images with labels that are places in `classes`, matched by name.

        Raises:
            UserError: a class of the data is not among them.
        """
        place = {name: i for i, name in enumerate(classes)}
        strange = [name for name in self.classes if name not in place]
        if strange:
            raise UserError(
                f"{self.samples.source}: the class {strange[0]!r} is not one of the model's"
                f"{nearest(strange[0], classes)} (it knows: {', '.join(list(classes)[:20])})"
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
        """The split of every sample by name, for saving as JSON; give it back as `split_table=` to restore it."""
        return dict(zip(self.samples.names(), self.samples.split.tolist()))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(getattr(self, name))}" for name in SPLITS)
        return f"Dataset({self.samples.source}: {len(self.classes)} classes, {sizes})"

    def class_counts(self) -> list[tuple[str, list[int]]]:
        """Rows of the table of classes: name, then images in train, val, test; the largest first if there are many."""
        table = np.stack([getattr(self, name).counts() for name in SPLITS], axis=1)
        order = np.arange(len(table))
        if len(table) > _MAX_CLASSES_SHOWN:
            order = np.argsort(-table.sum(axis=1), kind="stable")
            order = np.concatenate([order[: _MAX_CLASSES_SHOWN // 2], order[-_MAX_CLASSES_SHOWN // 2 :]])
        return [(self.classes[c], table[c].tolist()) for c in order]

    def details(self) -> list[str]:
        """What else is to be known: size, colour, weights, notes, what was left out."""
        size = "the backbone's own size" if self.image_size is None else "{} x {}".format(*self.image_size)
        lines = [f"input: {size}, {self.color}, {self.resize}"]
        if self.samples.weights is not None:
            lines.append("with sample weights")
        if self.samples.groups is not None:
            lines.append("groups are kept together")
        lines += self.samples.notes
        if self.skipped:
            lines.append(f"left out: {len(self.skipped)} images that cannot be read, e.g. {self.skipped[0][0]}")
        return lines

    def summary(self) -> str:
        """A table of the classes and splits as text."""
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

    def _repr_html_(self) -> str:
        from keras_transfer.notebook.views import of_dataset

        return of_dataset(self)
