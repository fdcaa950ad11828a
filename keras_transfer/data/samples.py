"""The samples of a data set: named images with labels, in canonical order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from keras_transfer.arguments.names import distinct_names, normal
from keras_transfer.data.images.store import (
    IMAGE_SUFFIXES,
    ArrayStore,
    BadImage,
    DecodingStore,
    FileStore,
    Image,
    ImageStore,
)
from keras_transfer.errors import UserError
from keras_transfer.stratify import is_multi

__all__ = [
    "IMAGE_SUFFIXES",
    "SPLITS",
    "ArrayStore",
    "BadImage",
    "DecodingStore",
    "FileStore",
    "Image",
    "ImageStore",
    "SampleTable",
    "fingerprint",
]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SampleTable:
    """A table with a row for each sample.

    Attributes:
        classes: class names; a label is an index into them.
        images: the images.
        labels: int64 (n,); or uint8 (n, C), 0 or 1, where an image may have several of them, or none.
        split: object array (n,) of one of SPLITS, or "" before a split is assigned.
        weights: float32 (n,) sample weights, or None.
        groups: object array (n,) of str, or None: samples of a group stay in one split; "" is no group.
        source: description of where the data came from.
        notes: what the reader dropped or decided, one line each.
    """

    classes: tuple[str, ...]
    images: ImageStore
    labels: np.ndarray
    split: np.ndarray
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_multi(self) -> bool:
        """Whether an image may have several labels."""
        return is_multi(self.labels)

    def names(self) -> list[str]:
        """Return all names, in order."""
        return [self.images.name(i) for i in range(len(self))]

    def take(self, indices: np.ndarray) -> SampleTable:
        """Return the rows at these indices, in this order."""
        return replace(
            self,
            images=self.images.take(indices),
            labels=self.labels[indices],
            split=self.split[indices],
            weights=None if self.weights is None else self.weights[indices],
            groups=None if self.groups is None else self.groups[indices],
        )

    def canonical(self) -> SampleTable:
        """Return the samples sorted by name, so that every source of the same images gives the same table."""
        names = self.names()
        if all(a <= b for a, b in pairwise(names)):
            return self
        return self.take(np.array(sorted(range(len(names)), key=names.__getitem__), np.int64))


def make_samples(
    classes: Sequence[str],
    images: ImageStore,
    labels: np.ndarray | Sequence[int],
    split: np.ndarray | Sequence[str] | None = None,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    source: str = "",
    notes: Sequence[str] = (),
) -> SampleTable:
    """Check the columns and build a table in canonical order.

    Raises:
        UserError: different lengths, labels outside the classes, class names that no file can hold, weights that are negative or not
            finite.
    """
    labels = np.asarray(labels)
    labels = labels.astype(np.uint8 if is_multi(labels) else np.int64)
    parts = {"labels": labels, "splits": split, "weights": weights, "groups": groups}
    for name, part in parts.items():
        if part is not None and len(part) != len(images):
            raise UserError(f"{source}: {len(images)} images but {len(part)} {name}")
    if is_multi(labels):
        if labels.shape[1] != len(classes) or labels.max(initial=0) > 1:
            raise UserError(f"{source}: expected labels of 0 and 1, (images, {len(classes)}), received {labels.shape}")
    elif len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        bad = int(np.flatnonzero((labels < 0) | (labels >= len(classes)))[0])
        raise UserError(
            f"{source}: label {labels[bad]} of {images.name(bad)!r} is out of range: expected 0..{len(classes) - 1}"
        )
    samples = SampleTable(
        _names(classes, source) if len(images) else tuple(map(str, classes)),  # that there are no images is said later
        images,
        labels,
        np.full(len(labels), "", object) if split is None else np.asarray(split, object),
        None if weights is None else checked_weights(weights, images, source),
        None if groups is None else _in_one_form(groups),
        source,
        tuple(notes),
    )
    return samples.canonical()


def _names(classes: Sequence[str], source: str) -> tuple[str, ...]:
    try:
        return tuple(distinct_names(str(c) for c in classes))
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def _in_one_form(groups: np.ndarray) -> np.ndarray:
    """Return groups with their names in one Unicode form: in two, a patient's images would be in two splits."""
    found = np.array(groups, object)
    found[:] = [normal(group) if isinstance(group, str) else group for group in found]
    return found


def checked_weights(weights: np.ndarray | Sequence[float], images: ImageStore, source: str) -> np.ndarray:
    """Return sample weights as float32 (n,); raises UserError if one is negative or not finite."""
    values = np.asarray(weights, np.float32)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise UserError(
            f"{source}: the weight {values[bad[0]]} of {images.name(int(bad[0]))!r} is invalid: expected a finite "
            f"number of at least 0"
        )
    return values


def fingerprint(samples: SampleTable) -> str:
    """Return the hex SHA-256 of class names, image names, labels, weights and contents.

    The content of an array is its pixels; that of a file is known once it has been checked, and is its size before.
    Times, absolute paths and the type of source do not matter, so the same data elsewhere has the same fingerprint.
    """
    digest = hashlib.sha256()
    digest.update("\0".join(samples.classes).encode("utf-8", "surrogateescape") + b"\1")
    digest.update("\0".join(samples.names()).encode("utf-8", "surrogateescape") + b"\1")
    digest.update(np.ascontiguousarray(samples.labels, "u1" if samples.is_multi else "<i8").tobytes())
    if samples.weights is not None:
        digest.update(np.ascontiguousarray(samples.weights, "<f4").tobytes())
    for part in samples.images.digests():
        digest.update(part)
    return digest.hexdigest()
