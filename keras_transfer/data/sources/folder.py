"""One folder per class, or train/val/test folders of class folders."""

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
    other: int = 0  # files that are not images by their name
    hidden: int = 0
    stray: int = 0  # images outside all class folders


def load(path: str | os.PathLike[str], classes: ClassNames = None) -> SampleTable:
    """Read a folder whose subfolders are the classes.

    `path/CLASS/…` or `path/SPLIT/CLASS/…`, where SPLIT is train, val (valid, validation) or test. Images may be nested
    deeper in their class folder. Files are images by their extension (`IMAGE_SUFFIXES`); hidden and other files are
    skipped and counted in the notes. Classes are the folder names in alphabetical order, or in that of `classes`.

    Args:
        path: the folder.
        classes: class names (or a text file with one per line) to fix the order or select folders.

    Raises:
        UserError: no such folder, no class folders, no images, a missing class.
    """
    root = Path(path)
    if not os.path.isdir(root):  # noqa: PTH112 - never raises
        what = "is a file, not a folder" if os.path.lexists(root) else "no such folder"
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
            f"found {found.stray} images outside class folders and {found.other} other files"
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
        f"skipped: {count} {what}"
        for count, what in (
            (found.hidden, "hidden files"),
            (found.other, "files that are not images"),
            (found.stray, "images outside class folders"),
            (len(found.labels) - len(keep), "images of classes that were not selected"),
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
    """Return the split of each subfolder, or None if the subfolders are classes.

    They are splits if one of them is `train`, which has subfolders itself.
    """
    folders = [entry.name for entry in _entries(root) if _is_folder(entry) and not entry.name.startswith(".")]
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS}
    train = [name for name, split in splits.items() if split == "train"]
    if not train or not any(map(_is_folder, _entries(root / train[0]))):
        return None
    if len(splits) < len(folders):
        odd = sorted(set(folders) - set(splits))
        raise UserError(
            f"{str(root)!r} mixes split folders ({', '.join(sorted(splits))}) with others ({', '.join(odd[:5])}): "
            f"expected only train, val and test, or only class folders"
        )
    if len(set(splits.values())) < len(splits):
        raise UserError(f"{str(root)!r} has two folders for the same split: {', '.join(sorted(splits))}")
    return splits


def _read_classes(root: Path, prefix: str, split: str, found: _Found) -> None:
    before = len(found.names)
    for entry in _entries(root / prefix):
        if entry.name.startswith("."):
            found.hidden += not _is_folder(entry)
        elif not _is_folder(entry):
            if _is_image(entry.name):
                found.stray += 1
            else:
                found.other += 1
        else:
            _check_name(entry.name, root)
            for name in _walk(entry.path, f"{prefix}{entry.name}", found, set()):
                found.names.append(name)
                found.labels.append(entry.name)
                found.split.append(split)
    if split and len(found.names) == before:
        raise UserError(f"no images in class folders below {str(root / prefix)!r} (the split {split!r})")


def _walk(folder: str, name: str, found: _Found, above: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the names of the images in and below a folder, and the names of folders that cannot be read.

    Such a folder counts as one unreadable image, so it is refused, or skipped and recorded, like any other.
    """
    try:
        # Links to folders are followed, but not in a cycle.
        status = Path(folder).stat()
        entries = list(os.scandir(folder))
    except OSError:
        yield name
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if entry.name.startswith("."):
            found.hidden += not _is_folder(entry)
        elif _is_folder(entry):
            yield from _walk(entry.path, f"{name}/{entry.name}", found, above | {here})
        elif _is_image(entry.name):
            yield f"{name}/{entry.name}"
        else:
            found.other += 1


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {str(folder)!r}: {error.strerror or error}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look
        return False


def _check_name(name: str, root: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{str(root)!r}: the name of the class folder {name!r} is not valid text; rename it") from None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - called for every file


def _hint(path: Path) -> str:
    parent = path.parent
    if path.exists() or not parent.is_dir():
        return ""
    return nearest(path.name, (entry.name for entry in parent.iterdir() if entry.is_dir()))
