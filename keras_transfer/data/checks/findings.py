"""Possible problems of a data set, derived from the results of `examine`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from keras_transfer.data.checks.examine import Examined
from keras_transfer.data.checks.near import MAX_COMPARED
from keras_transfer.data.images.depth import FULL, chosen, remark
from keras_transfer.data.samples import SPLITS, SampleTable

UNBALANCED = 10
"""Ratio of largest to smallest class from which imbalance is reported."""

_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "gif": (".gif",),
    "bmp": (".bmp",),
    "tiff": (".tif", ".tiff"),
    "ppm": (".ppm", ".pgm"),
    "webp": (".webp",),
}


@dataclass(frozen=True)
class Finding:
    """A possible problem.

    Attributes:
        check: name of the check.
        severity: "error" (training refuses the data, or its metrics would be wrong), "warning" or "note".
        message: description.
        images: affected groups of images, as rows of the samples; a single image is a group of one.
    """

    check: str
    severity: str
    message: str
    images: tuple[tuple[int, ...], ...] = ()


def _deep(examined: Examined, split: np.ndarray) -> Iterator[Finding]:
    if not examined.ranges:
        return
    seen = [span for i, span in examined.ranges.items() if split[i] == "train"] or list(examined.ranges.values())
    span = chosen(seen) or FULL
    yield Finding("16-bit", "note", remark(len(examined.ranges), seen, span), tuple((i,) for i in examined.ranges))


def findings(samples: SampleTable, examined: Examined, split: np.ndarray, model_side: int | None) -> list[Finding]:
    """Return all findings, most severe first.

    Args:
        samples: the data.
        examined: the result of `examine` for it.
        split: "train", "val", "test" or "" (unused) for each image.
        model_side: shorter side of the model's input; None if unknown.
    """
    found = [
        *_unreadable(examined),
        *_extensions(samples, examined),
        *_copies(samples, examined, split),
        *_alike(samples, examined, split),
        *_classes(samples, examined, split),
        *_small(examined, model_side),
        *_deep(examined, split),
    ]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def crossing(group: Sequence[int], split: np.ndarray) -> bool:
    """Return whether a group of images is in more than one split."""
    return len({split[i] for i in group} - {""}) > 1


def _unreadable(examined: Examined) -> Iterator[Finding]:
    bad = [i for i, error in enumerate(examined.errors) if error]
    if bad:
        yield Finding("unreadable", "error", f"{_images(len(bad))} cannot be read", _single(bad))


def _extensions(samples: SampleTable, examined: Examined) -> Iterator[Finding]:
    wrong = []
    for i, kind in enumerate(examined.formats):
        suffix = PurePosixPath(samples.images.name(i)).suffix.lower()
        if kind and suffix and suffix not in _SUFFIXES[kind]:
            wrong.append(i)
    if wrong:
        message = f"{_images(len(wrong))} in another format than the extension says (they are read by their content)"
        yield Finding("wrong extension", "note", message, _single(wrong))


def _copies(samples: SampleTable, examined: Examined, split: np.ndarray) -> Iterator[Finding]:
    groups = examined.copies()
    leaked = [tuple(group) for group in groups if crossing(group, split)]
    conflicting = [tuple(group) for group in groups if len({samples.labels[i].tobytes() for i in group}) > 1]
    if leaked:
        message = f"{_many(leaked, 'group')} of copies in more than one split: validation and test metrics are too good"
        yield Finding("copies across splits", "error", message, tuple(leaked))
    if conflicting:
        message = f"{_many(conflicting, 'group')} of copies with more than one label"
        yield Finding("copies with different labels", "error", message, tuple(conflicting))
    if groups:
        spare = sum(len(group) - 1 for group in groups)
        message = f"{_images(spare)} beyond the first of {_many(groups, 'group')} of copies"
        yield Finding("copies", "warning", message, tuple(tuple(group) for group in groups))


def _alike(samples: SampleTable, examined: Examined, split: np.ndarray) -> Iterator[Finding]:
    groups = [tuple(group) for group in examined.alike()]
    leaked = [group for group in groups if crossing(group, split)]
    if leaked:
        message = f"{_many(leaked, 'group')} in different splits: validation and test metrics may be too good"
        yield Finding("near duplicates across splits", "warning", message, tuple(leaked))
    if groups:
        most = (
            ": most of them, as with so many images not all pairs are compared" if len(samples) > MAX_COMPARED else ""
        )
        message = f"{_many(groups, 'group')} of near-duplicate images{most}"
        yield Finding("near duplicates", "note", message, tuple(groups))
    if examined.near.crowded:
        message = (
            f"{_images(examined.near.crowded)} look like so many others that each was compared with some of them only"
        )
        yield Finding("near duplicates", "note", message)


def _classes(samples: SampleTable, examined: Examined, split: np.ndarray) -> Iterator[Finding]:
    readable = np.array([not error for error in examined.errors], bool)
    for name in SPLITS:
        inside = (split == name) & readable
        counts = _counts(samples, inside)
        missing = [samples.classes[c] for c in np.flatnonzero(counts == 0)]
        if inside.any() and missing:
            severity = "error" if name == "train" and not samples.is_multi else "warning"
            shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            yield Finding("missing classes", severity, f"{name} has no images of: {shown}")
    counts = _counts(samples, readable)
    most, fewest = int(counts.max()), int(counts.min())
    if most >= UNBALANCED * max(fewest, 1):
        large, small = samples.classes[int(counts.argmax())], samples.classes[int(counts.argmin())]
        yield Finding("imbalance", "warning", f"{large} has {most:,} images, {small} only {fewest:,}")


def _counts(samples: SampleTable, chosen: np.ndarray) -> np.ndarray:
    if samples.is_multi:
        return np.asarray(samples.labels[chosen].sum(axis=0), np.int64)
    return np.bincount(samples.labels[chosen], minlength=len(samples.classes))


def _small(examined: Examined, model_side: int | None) -> Iterator[Finding]:
    if model_side is None:
        return
    small = np.flatnonzero((examined.sides > 0) & (examined.sides < model_side / 2)).tolist()
    if small:
        message = f"{_images(len(small))} with a side below half of the model's {model_side} pixels"
        yield Finding("small images", "note", message, _single(small))


def _single(images: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple((i,) for i in images)


def _images(count: int) -> str:
    return _many(range(count), "image")


def _many(things: Sequence[object], name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"
