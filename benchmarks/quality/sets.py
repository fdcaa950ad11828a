"""Image sets: find them, choose training images, and lay them out for a method.

Rules for the defaults are chosen on the sets in `TUNE` only. Those in `HELD` are kept for a last measurement, when the rules
are settled: figures on sets that the rules were chosen on flatter them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_transfer.data.archive import unpack
from keras_transfer.data.samples import IMAGE_SUFFIXES
from keras_transfer.errors import UserError, unknown

TUNE = ("flowers5", "neu_steel", "chest_xray", "sign_digits", "intel_scenes")
HELD = ("cats_dogs", "rsscn7", "wbc_original")
SPLITS = {"tune": TUNE, "held": HELD}

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


@dataclass(frozen=True)
class ImageSet:
    """Files of a set, sorted by class and then by name.

    Attributes:
        name: name of its folder, or of its archive without the suffix.
        classes: sorted class names.
        train: training files.
        train_labels: int64 (len(train),).
        test: test files.
        test_labels: int64 (len(test),).
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Path, ...]
    train_labels: np.ndarray
    test: tuple[Path, ...]
    test_labels: np.ndarray


def find_sets(folder: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """Return name → folder or archive of the sets in `folder`, sorted by name; a folder goes before its archive.

    Raises:
        UserError: no such folder, no sets in it, or an unknown name.
    """
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r}: expected a folder with image sets")
    archives = {
        path.name.removesuffix(suffix): path
        for path in folder.iterdir()
        for suffix in _ARCHIVES
        if path.name.endswith(suffix) and path.is_file()
    }
    folders = {path.name: path for path in folder.iterdir() if (path / "train").is_dir() and (path / "test").is_dir()}
    found = dict(sorted({**archives, **folders}.items()))
    if not found:
        raise UserError(f"{str(folder)!r}: no image sets: expected NAME.tar, or NAME/train/CLASS and NAME/test/CLASS")
    for name in names or ():
        if name not in found:
            raise unknown("set", name, found)
    return {name: path for name, path in found.items() if names is None or name in names}


def open_set(name: str, path: Path) -> ImageSet:
    """List the files of a set; an archive is unpacked to the cache, once.

    Raises:
        UserError: an archive without train and test folders, a class without training images, or fewer than two.
    """
    root = path if path.is_dir() else _root(unpack(path), path)
    classes = tuple(sorted(entry.name for entry in (root / "train").iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise UserError(f"{path}: expected at least two classes in train/, found {len(classes)}")
    train, train_labels = _files(root / "train", classes)
    test, test_labels = _files(root / "test", classes)
    missing = [name for label, name in enumerate(classes) if label not in train_labels]
    if missing or not test:
        raise UserError(f"{path}: no {f'training images of {missing[0]}' if missing else 'test images'}")
    return ImageSet(name, classes, train, train_labels, test, test_labels)


def _root(folder: Path, archive: Path) -> Path:
    for root in (folder, *sorted(folder.iterdir())):
        if (root / "train").is_dir() and (root / "test").is_dir():
            return root
    raise UserError(f"{archive}: expected the folders train and test in the archive")


def _files(folder: Path, classes: Sequence[str]) -> tuple[tuple[Path, ...], np.ndarray]:
    found = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    return tuple(path for path, _ in found), np.array([label for _, label in found], np.int64)


def subset(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Choose `size` images with the classes' shares kept: by largest remainder, but at least one of each class.

    Args:
        labels: int (n,).
        size: number of images; all are taken if there are no more.
        seed: chooses the images.

    Returns:
        Sorted indices, int64 (m,). Each class whose share is below one image can make m larger than `size` by one.
    """
    if size >= len(labels):
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    ideal = sizes * size / len(labels)
    counts = np.maximum(np.floor(ideal).astype(np.int64), 1)
    order = np.argsort(-(ideal - counts), kind="stable")
    counts[order[: max(0, size - int(counts.sum()))]] += 1
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    chosen = [shuffled[labels[shuffled] == label][:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen))


def lay_out(images: ImageSet, chosen: np.ndarray, folder: Path) -> None:
    """Make `folder/train/CLASS` with the chosen training images and `folder/test/CLASS` with all test images, as links."""
    parts = (("train", [images.train[i] for i in chosen], images.train_labels[chosen]),
             ("test", images.test, images.test_labels))  # fmt: skip
    for split, paths, labels in parts:
        for name in images.classes:
            (folder / split / name).mkdir(parents=True)
        for path, label in zip(paths, labels):
            _link(path.resolve(), folder / split / images.classes[label] / path.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)  # noqa: PTH211
    except OSError:  # the system, or the file system, has no links
        shutil.copyfile(source, target)
