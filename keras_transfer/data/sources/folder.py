"""One folder per class, or train/val/test folders of class folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import MISSING, class_name
from keras_transfer.data.archive import is_archive, unpack
from keras_transfer.data.images.heif import is_hollow, reads_suffix
from keras_transfer.data.leftovers import UNREAD_SUFFIXES, is_leftover, suffix_of
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
    other: int = 0  # files that are not images by their name, nor in `unread`
    hidden: int = 0
    stray: int = 0  # images outside all class folders
    unread: Counter[str] = field(default_factory=Counter)  # pictures in formats that are not read, by extension
    leftovers: set[str] = field(default_factory=set)  # names of what belongs to the system
    empty: dict[str, Counter[str]] = field(
        default_factory=dict
    )  # class folders without images: what is in them, by extension
    forms: set[str] = field(default_factory=set)  # class names that folders write in another Unicode form

    def skip(self, name: str, is_folder: bool) -> bool:
        """Count what is no person's file, and say so."""
        if not is_leftover(name):
            return False
        if name.startswith("."):
            self.hidden += not is_folder
        else:
            self.leftovers.add(name)
        return True

    def leave(self, name: str) -> None:
        """Count a file that is not an image by its name."""
        suffix = suffix_of(name)
        if suffix in UNREAD_SUFFIXES:
            self.unread[suffix] += 1
        else:
            self.other += 1


def load(path: str | os.PathLike[str], classes: ClassNames = None) -> SampleTable:
    """Read a folder whose subfolders are the classes.

    `path/CLASS/…` or `path/SPLIT/CLASS/…`, where SPLIT is train, val (valid, validation) or test. Images may be nested
    deeper in their class folder. Files are images by their extension (`IMAGE_SUFFIXES`); hidden and other files are
    skipped and counted in the notes. Classes are the folder names in alphabetical order, or in that of `classes`.

    Args:
        path: the folder, or a zip or tar archive of it.
        classes: class names (or a text file with one per line) to fix the order or select folders.

    Raises:
        UserError: no such folder, no class folders, no images, a missing class.
    """
    root = _unpacked(Path(path))
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
            f"found {found.stray} images outside class folders and {found.other} other files{_of(found.unread)}"
        )
    names = class_names(classes) or tuple(sorted(set(found.labels)))
    return _samples(root, path, found, names, bool(classes))


def _unpacked(path: Path) -> Path:
    """Return a folder: the path itself, or what is in an archive, past folders that hold nothing else."""
    try:
        packed = path.is_file() and is_archive(path)
    except OSError:  # a folder above it that may not be read: said where the folder is listed
        packed = False
    if not packed:
        return path
    folder = unpack(path)
    while True:
        inside = [entry for entry in _entries(folder) if not is_leftover(entry.name)]
        if len(inside) != 1 or not _is_folder(inside[0]):
            return folder
        folder = Path(inside[0].path)


def _samples(
    root: Path, path: str | os.PathLike[str], found: _Found, classes: tuple[str, ...], chosen: bool
) -> SampleTable:
    index = {name: i for i, name in enumerate(classes)}
    for name in classes:
        if name not in (present := set(found.labels)):
            raise UserError(f"{str(root)!r} has no images of the class {name!r}{nearest(name, present)}")
    keep = [i for i, label in enumerate(found.labels) if label in index]
    notes = [
        f"skipped: {count} {what}"
        for count, what in (
            (found.hidden, "hidden files"),
            *((count, f"{suffix} files, which are not read") for suffix, count in sorted(found.unread.items())),
            (found.other, "files that are not images"),
            (found.stray, "images outside class folders"),
            (len(found.labels) - len(keep), "images of classes that were not selected"),
        )
        if count
    ]
    notes += _notes_on_names(found, classes)
    return make_samples(
        classes,
        FileStore([found.names[i] for i in keep], root),
        np.array([index[found.labels[i]] for i in keep], np.int64),
        np.array([found.split[i] for i in keep], object),
        source=f"folder {path}",
        notes=notes,
    )


def _notes_on_names(found: _Found, classes: tuple[str, ...]) -> list[str]:
    """Return what is to be said about the names of folders."""
    notes = [
        f"warning: no class: the folder {name!r} has no images{_of(inside)}"
        for name, inside in sorted(found.empty.items())
        if name not in classes
    ]
    notes += [f"warning: the class {name!r} is called like a missing value" for name in classes if name in MISSING]
    alike: dict[str, str] = {}
    for name in classes:
        first = alike.setdefault(" ".join(name.casefold().split()), name)
        if first is not name:
            notes.append(f"warning: the classes {first!r} and {name!r} differ only in spaces or capitals")
    if found.forms:
        notes.append(
            f"one class each: folders whose names are the same in another Unicode form: {', '.join(sorted(found.forms))}"
        )
    if found.leftovers:
        notes.append(f"left out: what the system has left: {', '.join(sorted(found.leftovers))}")
    return notes


def _of(suffixes: Counter[str]) -> str:
    """Return a list of extensions and their numbers in parentheses, or nothing."""
    listed = ", ".join(f"{count} {suffix or 'without extension'}" for suffix, count in sorted(suffixes.items()))
    return f" (files: {listed})" if listed else ""


def _split_folders(root: Path) -> dict[str, str] | None:
    """Return the split of each subfolder, or None if the subfolders are classes.

    They are splits if one of them is `train`, which has subfolders itself.
    """
    folders = [entry.name for entry in _entries(root) if _is_folder(entry) and not is_leftover(entry.name)]
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
        if found.skip(entry.name, _is_folder(entry)):
            continue
        if not _is_folder(entry):
            if _is_image(entry):
                found.stray += 1
            else:
                found.leave(entry.name)
        else:
            _read_class(entry, prefix, split, found)
    if split and len(found.names) == before:
        raise UserError(f"no images in class folders below {str(root / prefix)!r} (the split {split!r})")


def _read_class(entry: os.DirEntry[str], prefix: str, split: str, found: _Found) -> None:
    label = _class_of(entry)
    if label != entry.name:
        found.forms.add(label)
    unread, other, before = found.unread.copy(), found.other, len(found.names)
    for name in _walk(entry.path, f"{prefix}{entry.name}", found, set()):
        found.names.append(name)
        found.labels.append(label)
        found.split.append(split)
    if len(found.names) == before:
        inside = found.unread - unread
        if found.other > other:
            inside["of other kinds"] = found.other - other
        found.empty.setdefault(label, Counter()).update(inside)


def _class_of(entry: os.DirEntry[str]) -> str:
    try:
        return class_name(entry.name)
    except ValueError as error:
        raise UserError(f"{entry.path!r}: {error}") from None


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
        if found.skip(entry.name, _is_folder(entry)):
            continue
        if _is_folder(entry):
            yield from _walk(entry.path, f"{name}/{entry.name}", found, above | {here})
        elif _is_image(entry):
            yield f"{name}/{entry.name}"
        else:
            found.leave(entry.name)


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


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = suffix_of(entry.name)
    return suffix in IMAGE_SUFFIXES or (reads_suffix(suffix) and not is_hollow(entry.path))


def _hint(path: Path) -> str:
    parent = path.parent
    if path.exists() or not parent.is_dir():
        return ""
    return nearest(path.name, (entry.name for entry in parent.iterdir() if entry.is_dir()))
