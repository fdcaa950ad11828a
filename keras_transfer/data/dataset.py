"""A data set ready for training: samples in three splits, and how images become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from keras_transfer.arguments import checked
from keras_transfer.arguments.names import ClassNames, normal
from keras_transfer.arguments.types import Name, Place
from keras_transfer.data.images.depth import parse as parse_depth
from keras_transfer.data.images.given import as_array
from keras_transfer.data.images.protocols import in_storage_order
from keras_transfer.data.samples import SPLITS, ArrayStore, DecodingStore, SampleTable, fingerprint
from keras_transfer.errors import UserError, nearest
from keras_transfer.options import Color, Resize
from keras_transfer.text import one_line

_MAX_CLASSES_SHOWN = 20


def _check_samples(samples: object, owner: str) -> None:
    if not isinstance(samples, SampleTable):
        raise UserError(f"a {owner} is made of samples, got a {type(samples).__name__}: see keras_transfer.data.folder")


def _positions(values: Any, count: int) -> np.ndarray:
    """Return positions below `count`, int64 (n,)."""
    array = as_array(values, "positions")
    if array.size == 0:
        array = array.astype(np.int64).reshape(-1)
    if (
        array.ndim != 1
        or array.dtype.kind not in "iu"
        or (len(array) and not -count <= array.min() <= array.max() < count)
    ):
        raise UserError(f"expected positions of samples, whole numbers below {count}, got {str(values)[:100]}")
    return array.astype(np.int64)


class Split:
    """The samples of one split.

    Attributes:
        name: "train", "val" or "test".
        samples: the samples of the whole data set.
        indices: int64 (n,), rows of `samples`: ascending, or as images lie in shards that cannot all be kept.
        classes: class names.
        labels: int64 (n,), or uint8 (n, C) of 0 and 1 where an image may have several.
        weights: float32 (n,), or None if the data has no sample weights.
    """

    @checked
    def __init__(self, name: Name, samples: Any, indices: Any):
        _check_samples(samples, "split")
        self.name: str = name
        self.samples: SampleTable = samples
        self.indices = _positions(indices, len(samples))
        self.classes = samples.classes
        self.labels = samples.labels[self.indices]
        self.weights = None if samples.weights is None else samples.weights[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def is_multi(self) -> bool:
        """Whether an image may have several labels."""
        return self.samples.is_multi

    def names_of(self, i: int) -> tuple[str, ...]:
        """Return the names of the labels of sample i: one of them, or where an image may have several, any number."""
        label = self.labels[i]
        return tuple(self.classes[k] for k in np.flatnonzero(label)) if self.is_multi else (self.classes[label],)

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each sample, object (n,), with a name of its own for each sample that has none; None without groups."""
        groups = self.samples.groups
        if groups is None:
            return None
        return np.array([str(name) or f"\0{number}" for number, name in enumerate(groups[self.indices])], object)

    @checked
    def image_name(self, i: Place) -> str:
        """Return the name of sample i: for files, the path relative to the data's folder."""
        return self.samples.images.name(self._row(i))

    @checked
    def read(self, i: Place) -> np.ndarray:
        """Return image i in its original size, uint8 (h, w, 3) RGB; raises BadImage."""
        return self.samples.images.read(self._row(i))

    def _row(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise UserError(f"there is no sample {i} among the {len(self)} of the split {self.name!r}")
        return int(self.indices[i])

    def counts(self) -> np.ndarray:
        """Return the number of samples of each class, or with each label, int64 (C,)."""
        if self.is_multi:
            return np.asarray(self.labels.sum(axis=0), np.int64)
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    @checked
    def take(self, positions: Any) -> Split:
        """Return a smaller split with the samples at these positions; raises UserError for other values."""
        return Split(self.name, self.samples, self.indices[_positions(positions, len(self))])

    def at_depth(self, depth: Sequence[int] | None) -> Split:
        """Return the split with 16-bit images read in another range: that of a model."""
        images = self.samples.images
        if not isinstance(images, DecodingStore) or images.depth == parse_depth(depth):
            return self
        return Split(self.name, replace(self.samples, images=images.with_depth(parse_depth(depth))), self.indices)

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
        unlabelled: images without labels that a training may use beside them, none of which is among the samples; its labels mean
            nothing. None except in a training that was given some.
    """

    samples: SampleTable
    image_size: tuple[int, int] | None = None
    color: Color = "rgb"
    resize: Resize = "squash"
    skipped: tuple[tuple[str, str], ...] = ()
    unlabelled: Split | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.samples, SampleTable):
            raise UserError(
                f"a data set is made of samples, got a {type(self.samples).__name__}: see keras_transfer.data.folder and others"
            )

    @property
    def depth(self) -> tuple[int, int] | None:
        """The values of 16-bit images that become 0 and 255; None if there are no such images."""
        return getattr(self.samples.images, "depth", None)

    @property
    def manifest(self) -> SampleTable:
        """The samples, by their name in version 0.1."""
        return self.samples

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
        return Split("all", self.samples, in_storage_order(self.samples.images, np.arange(len(self.samples))))

    @checked
    def with_classes(self, classes: ClassNames) -> Dataset:
        """Return the same images with labels that index `classes`, matched by name.

        Raises:
            UserError: a class of the data is not among them.
        """
        place = {normal(str(name)): i for i, name in enumerate(classes)}
        foreign = [name for name in self.classes if normal(name) not in place]
        if foreign:
            raise UserError(
                f"{self.samples.source}: the class {foreign[0]!r} is not one of the model's"
                f"{nearest(foreign[0], classes)} (it has: {', '.join(list(classes)[:20])})"
            )
        places = np.array([place[normal(name)] for name in self.classes], np.int64)
        if self.is_multi:
            moved = np.zeros((len(self), len(classes)), np.uint8)
            moved[:, places] = self.samples.labels
        else:
            moved = places[self.samples.labels]
        return replace(self, samples=replace(self.samples, classes=tuple(classes), labels=moved))

    @property
    def is_multi(self) -> bool:
        """Whether an image may have several labels."""
        return self.samples.is_multi

    def as_task(self, several: bool) -> Dataset:
        """Return the same images with labels in the form of a model for several labels per image, or for one.

        Raises:
            UserError: an image does not have exactly one label, but the model is for one.
        """
        labels = self.samples.labels
        if several == self.is_multi:
            return self
        if several:
            labels = np.eye(len(self.classes), dtype=np.uint8)[labels]
        elif (labels.sum(axis=1) != 1).any():
            odd = int(np.flatnonzero(labels.sum(axis=1) != 1)[0])
            raise UserError(
                f"{self.samples.source}: the model is for one label per image, but {self.samples.images.name(odd)!r} has "
                f"{int(labels[odd].sum())}"
            )
        else:
            labels = labels.argmax(axis=1).astype(np.int64)
        return replace(self, samples=replace(self.samples, labels=labels))

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the data; see `samples.fingerprint`."""
        return fingerprint(self.samples)

    @cached_property
    def content(self) -> np.ndarray | None:
        """A hash of each sample's content (files: bytes, arrays: pixels), uint8 (n, 16); None if the source cannot tell."""
        images = self.samples.images
        if isinstance(images, DecodingStore):
            return images.content
        if isinstance(images, ArrayStore):
            joined = b"".join(images.open(i).digest() for i in range(len(images)))
            return np.frombuffer(joined, np.uint8).reshape(len(images), 16)
        return None

    def _split(self, name: str) -> Split:
        rows = np.flatnonzero(self.samples.split == name)
        return Split(name, self.samples, in_storage_order(self.samples.images, rows))

    def split_table(self) -> dict[str, str]:
        """Return sample name → split, to be saved as JSON and passed as `split_table=` to restore the splits."""
        return dict(zip(self.samples.names(), self.samples.split.tolist()))

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(getattr(self, name))}" for name in SPLITS)
        return f"Dataset({one_line(self.samples.source)}: {len(self.classes)} {'labels' if self.is_multi else 'classes'}, {sizes})"

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
        lines += map(one_line, self.samples.notes)
        if self.unlabelled is not None:
            lines += map(one_line, self.unlabelled.samples.notes)
        if self.skipped:
            lines.append(f"skipped: {len(self.skipped)} unreadable images, e.g. {one_line(self.skipped[0][0])}")
        return lines

    def summary(self) -> str:
        """Return a text table of classes and splits."""
        rows = [(one_line(name), counts) for name, counts in self.class_counts()]
        width = max(len("class"), len("all"), *(len(name) for name, _ in rows))
        head = "label" if self.is_multi else "class"
        lines = [one_line(self.samples.source), f"{head:<{width}}" + "".join(f"{s:>9}" for s in SPLITS)]
        half = len(rows) // 2 if len(self.classes) > len(rows) else None
        for k, (name, counts) in enumerate(rows):
            if k == half:
                lines.append(f"… {len(self.classes) - len(rows)} more classes")
            lines.append(f"{name:<{width}}" + "".join(f"{n:>9,}" for n in counts))
        lines.append(f"{'all':<{width}}" + "".join(f"{len(getattr(self, s)):>9,}" for s in SPLITS))
        return "\n".join([*lines, *self.details()])
