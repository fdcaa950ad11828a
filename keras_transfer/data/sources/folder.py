"""One folder per class, or train/val/test folders that hold one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_transfer.data.samples import IMAGE_SUFFIXES, FileStore, SampleTable, make_samples
from keras_transfer.data.sources._labels import ClassNames, class_names
from keras_transfer.errors import UserError, nearest

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass
class _Found:
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    other: int = 0  # files without an image's suffix
    hidden: int = 0
    stray: int = 0  # images outside class folders


def load(path: str | os.PathLike[str], classes: ClassNames = None) -> SampleTable:
    """Read a folder whose sub-folders are the classes.

    The layout is `path/CLASS/…` or `path/SPLIT/CLASS/…`, where SPLIT is train, val (valid, validation) or test. Class
    folders may have sub-folders. Images are recognised by suffix (`IMAGE_SUFFIXES`); hidden and other files are left
    out and counted in the notes. Classes are the folder names in alphabetical order, or in that of `classes`.

    Args:
        path: the folder.
        classes: class names (or a text file with one per line) to fix the order, or to use only some of the folders.

    Raises:
        UserError: the folder does not exist, has no class folders or no images, or a class is missing.
    """
    root = Path(path)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise UserError(f"{str(path)!r}: {what}{_hint(root)}")
    found = _Found()
    splits = _split_folders(root)
    if splits is None:
        _read_classes(root, "", "", found)
    else:
        for folder, split in sorted(splits.items()):
            _read_classes(root, folder + "/", split, found)
    if not found.names:
        raise UserError(
            f"no images in class folders below {str(path)!r}: expected {root.name}/CLASS/*.jpg (or .png …); "
            f"found {found.stray} images outside of class folders and {found.other} other files"
        )
    names = class_names(classes) or tuple(sorted(set(found.labels)))
    return _samples(root, found, names, bool(classes))


def _samples(root: Path, found: _Found, classes: tuple[str, ...], chosen: bool) -> SampleTable:
    index = {name: i for i, name in enumerate(classes)}
    for name in classes:
        if name not in (present := set(found.labels)):
            raise UserError(f"{str(root)!r} has no images of the class {name!r}{nearest(name, present)}")
    keep = [i for i, label in enumerate(found.labels) if label in index]
    notes = [
        f"left out: {count} {what}"
        for count, what in (
            (found.hidden, "hidden files"),
            (found.other, "files that are not images"),
            (found.stray, "images outside of class folders"),
            (len(found.labels) - len(keep), "images of classes that were not asked for"),
        )
        if count
    ]
    return make_samples(
        classes,
        FileStore([found.names[i] for i in keep], root),
        np.array([index[found.labels[i]] for i in keep], np.int64),
        np.array([found.split[i] for i in keep], object),
        source=f"folder {root}",
        notes=notes,
    )


def _split_folders(root: Path) -> dict[str, str] | None:
    """Return folder name → split, or None if the sub-folders are classes.

    They are splits if all have the names of splits, one is `train`, and `train` has sub-folders.
    """
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS}
    train = [name for name, split in splits.items() if split == "train"]
    if not train or not any(entry.is_dir() for entry in os.scandir(root / train[0])):
        return None
    if len(splits) < len(folders):
        odd = sorted(set(folders) - set(splits))
        raise UserError(
            f"{str(root)!r} mixes split folders ({', '.join(sorted(splits))}) with others ({', '.join(odd[:5])}): "
            f"expected only train, val and test, or only class folders"
        )
    if len(set(splits.values())) < len(splits):
        raise UserError(f"{str(root)!r} has two folders for one split: {', '.join(sorted(splits))}")
    return splits


def _read_classes(root: Path, prefix: str, split: str, found: _Found) -> None:
    before = len(found.names)
    for entry in sorted(os.scandir(root / prefix), key=lambda e: e.name):
        if entry.name.startswith("."):
            found.hidden += not entry.is_dir()
        elif not entry.is_dir():
            if _is_image(entry.name):
                found.stray += 1
            else:
                found.other += 1
        else:
            for name in _walk(entry.path, f"{prefix}{entry.name}/", found, set()):
                found.names.append(name)
                found.labels.append(entry.name)
                found.split.append(split)
    if split and len(found.names) == before:
        raise UserError(f"no images in class folders below {str(root / prefix)!r} (the split {split!r})")


def _walk(folder: str, prefix: str, found: _Found, above: set[tuple[int, int]]) -> Iterator[str]:
    # Links to folders are followed, except to a folder above.
    status = Path(folder).stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            found.hidden += not entry.is_dir()
        elif entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", found, above | {here})
        elif _is_image(entry.name):
            yield prefix + entry.name
        else:
            found.other += 1


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - called for every file


def _hint(path: Path) -> str:
    parent = path.parent
    if path.exists() or not parent.is_dir():
        return ""
    return nearest(path.name, (entry.name for entry in parent.iterdir() if entry.is_dir()))
