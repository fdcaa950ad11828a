"""A data set ready for training: three splits of a manifest, and how its pictures become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from keras_transfer.data.manifest import SPLITS, Manifest, fingerprint
from keras_transfer.errors import UserError, nearest

Color = Literal["rgb", "grey"]
Resize = Literal["squash", "crop", "pad"]

_MAX_CLASSES_SHOWN = 20


class Split:
    """A view of the samples of one split.

    Attributes:
        name: "train", "val" or "test".
        manifest: the whole data set's samples.
        indices: int64 (n,), places in the manifest, ascending.
        classes: class names.
        labels: int64 (n,).
        weights: float32 (n,), or None if the data has no sample weights.
    """

    def __init__(self, name: str, manifest: Manifest, indices: np.ndarray):
        self.name, self.manifest, self.indices = name, manifest, np.asarray(indices, np.int64)
        self.classes = manifest.classes
        self.labels = manifest.labels[self.indices]
        self.weights = None if manifest.weights is None else manifest.weights[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image_name(self, i: int) -> str:
        """Name of sample i of the split: for files the path relative to the data's folder."""
        return self.manifest.images.name(int(self.indices[i]))

    def read(self, i: int) -> np.ndarray:
        """Picture i of the split as it is: uint8 (h, w, 3) RGB; raises BadImage."""
        return self.manifest.images.read(int(self.indices[i]))

    def counts(self) -> np.ndarray:
        """Samples of each class, int64 (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, positions: np.ndarray) -> Split:
        """The split's samples at these positions (a smaller split, e.g. for a quick look)."""
        return Split(self.name, self.manifest, self.indices[np.asarray(positions, np.int64)])

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} images, {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        from keras_transfer.notebook.views import of_split

        return of_split(self)


@dataclass(frozen=True)
class Dataset:
    """Pictures divided into train, val and test.

    Attributes:
        manifest: every sample, with its split.
        image_size: (height, width) of the model's input, or None: the backbone's own.
        color: "rgb" (3 channels) or "grey" (1).
        resize: how a picture of another shape is fitted: "squash" changes its aspect, "crop" cuts, "pad" adds a border.
        skipped: (name, reason) of the pictures that were left out because they cannot be read.
    """

    manifest: Manifest
    image_size: tuple[int, int] | None = None
    color: Color = "rgb"
    resize: Resize = "squash"
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.manifest.classes

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
        return Split("all", self.manifest, np.arange(len(self.manifest)))

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """The same pictures with labels that are places in `classes`, matched by name.

        Raises:
            UserError: a class of the data is not among them.
        """
        place = {name: i for i, name in enumerate(classes)}
        strange = [name for name in self.classes if name not in place]
        if strange:
            raise UserError(
                f"{self.manifest.source}: the class {strange[0]!r} is not one of the model's"
                f"{nearest(strange[0], classes)} (it knows: {', '.join(list(classes)[:20])})"
            )
        moved = np.array([place[name] for name in self.classes], np.int64)[self.manifest.labels]
        return replace(self, manifest=replace(self.manifest, classes=tuple(classes), labels=moved))

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the data; see `manifest.fingerprint`."""
        return fingerprint(self.manifest)

    def _split(self, name: str) -> Split:
        return Split(name, self.manifest, np.flatnonzero(self.manifest.split == name))

    def split_table(self) -> dict[str, str]:
        """The split of every sample by name, for saving as JSON; give it back as `split_table=` to restore it."""
        return dict(zip(self.manifest.names(), self.manifest.split.tolist()))

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(getattr(self, name))}" for name in SPLITS)
        return f"Dataset({self.manifest.source}: {len(self.classes)} classes, {sizes})"

    def class_counts(self) -> list[tuple[str, list[int]]]:
        """Rows of the table of classes: name, then images in train, val, test; the largest first if there are many."""
        table = np.stack([getattr(self, name).counts() for name in SPLITS], axis=1)
        order = np.arange(len(table))
        if len(table) > _MAX_CLASSES_SHOWN:
            order = np.argsort(-table.sum(axis=1), kind="stable")
            order = np.concatenate([order[: _MAX_CLASSES_SHOWN // 2], order[-_MAX_CLASSES_SHOWN // 2 :]])
        return [(self.classes[c], table[c].tolist()) for c in order]

    def facts(self) -> list[str]:
        """What else is to be known: size, colour, weights, notes, what was left out."""
        size = "the backbone's own size" if self.image_size is None else "{} x {}".format(*self.image_size)
        lines = [f"input: {size}, {self.color}, {self.resize}"]
        if self.manifest.weights is not None:
            lines.append("with sample weights")
        if self.manifest.groups is not None:
            lines.append("groups are kept together")
        lines += self.manifest.notes
        if self.skipped:
            lines.append(f"left out: {len(self.skipped)} pictures that cannot be read, e.g. {self.skipped[0][0]}")
        return lines

    def summary(self) -> str:
        """A table of the classes and splits as text."""
        rows = self.class_counts()
        width = max(len("class"), len("all"), *(len(name) for name, _ in rows))
        lines = [self.manifest.source, f"{'class':<{width}}" + "".join(f"{s:>9}" for s in SPLITS)]
        half = len(rows) // 2 if len(self.classes) > len(rows) else None
        for k, (name, counts) in enumerate(rows):
            if k == half:
                lines.append(f"… {len(self.classes) - len(rows)} more classes")
            lines.append(f"{name:<{width}}" + "".join(f"{n:>9,}" for n in counts))
        lines.append(f"{'all':<{width}}" + "".join(f"{len(getattr(self, s)):>9,}" for s in SPLITS))
        return "\n".join([*lines, *self.facts()])

    def _repr_html_(self) -> str:
        from keras_transfer.notebook.views import of_dataset

        return of_dataset(self)
