"""Text files of `path label` lines, the format of Caffe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_transfer.data.samples import FileStore, SampleTable, make_samples
from keras_transfer.data.sources._files import Lines, check_existence, drop_repeats, relative_names
from keras_transfer.data.sources._labels import ClassNames, by_class, class_names, index_labels, name_lines, read_lines
from keras_transfer.data.sources._text import quoted, unquoted
from keras_transfer.errors import UserError

_SPACE = re.compile("[ \t]+")

PathLike = str | os.PathLike[str]

__all__ = ["build", "by_class", "class_names", "index_labels", "list_lines", "load", "name_lines", "read_list"]


def load(
    path: PathLike | None = None,
    root: PathLike | None = None,
    train: PathLike | None = None,
    val: PathLike | None = None,
    test: PathLike | None = None,
    classes: ClassNames = None,
) -> SampleTable:
    """Read lists of `path label` lines.

    The label follows the last space or tab, so paths may contain spaces. It is a class name, or a number: a place in `classes` (from 0)
    unless a class name is a number itself. Path and label may be JSON strings (`"a\\nb"`) if they contain what a line cannot.
    Empty lines are skipped. Duplicate lines count once.

    Args:
        path: a single list of all images, to be split; the alternative to `train`, `val` and `test`.
        root: folder that relative paths start from; by default that of the (first) list.
        train: list of the training images.
        val: list of the validation images; by default they are split off from the training images.
        test: list of the test images; likewise.
        classes: class names in label order, or a text file with one per line. By default the labels themselves: in
            numerical order if all are numbers, else in alphabetical order.

    Raises:
        UserError: no list or an unreadable one; with file and line number: a line without a label, a label out of
            range, a missing file, a path with two labels or in two lists.
    """
    lists = {"": path, "train": train, "val": val, "test": test}
    given = {split: Path(file) for split, file in lists.items() if file is not None}
    if not ("" in given) ^ ("train" in given):
        raise UserError("expected either one list (path) or a list of training images (train), not both or neither")
    if "" in given and len(given) > 1:
        given["train"] = given.pop("")
    names, written, where, split = [], [], Lines(), []
    for name, file in given.items():
        paths, labels, numbers = read_list(file)
        names += paths
        written += labels
        where.add(file, numbers)
        split.append(np.full(len(paths), name, object))
    if not names:
        raise UserError(f"{', '.join(map(str, given.values()))}: no lines; expected `path label`")
    folder = Path(root) if root is not None else next(iter(given.values())).parent
    if not folder.is_dir():
        raise UserError(f"root: no such folder: {str(folder)!r}")
    known, found = index_labels(written, class_names(classes), where)
    return build(names, known, found, np.concatenate(split), where, folder, _source(given))


def build(  # the columns of a list, and where they come from
    paths: list[str],
    classes: tuple[str, ...],
    labels: np.ndarray,
    split: np.ndarray,
    where: Lines,
    root: Path,
    source: str,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    notes: Sequence[str] = (),
) -> SampleTable:
    """Resolve and check paths, and build the samples."""
    names = check_existence(relative_names(paths, root), root, where)
    keep, dropped = drop_repeats(names, labels, split, where, {"weight": weights, "group": groups})
    notes = [*notes, *([f"skipped: {dropped} duplicate lines"] if dropped else [])]
    if keep is not None:
        names, labels, split = [names[i] for i in keep], labels[keep], split[keep]
        weights = None if weights is None else weights[keep]
        groups = None if groups is None else groups[keep]
    return make_samples(classes, FileStore(names, root), labels, split, weights, groups, source, notes)


def read_list(path: PathLike) -> tuple[list[str], list[str], list[int]]:
    """Return paths, labels as written and line numbers of a list; raises UserError with the line number."""
    paths, labels, numbers = [], [], []
    seen: dict[str, str] = {}  # shares equal strings, which saves memory in long lists
    for number, line in enumerate(read_lines(path, "list of images"), 1):
        line = line.strip(" \t")
        if not line:
            continue
        parts = _SPACE.split(line[::-1], maxsplit=1)  # from the end
        if len(parts) != 2:
            raise UserError(f"{path}:{number}: expected `path label`, received {line[:80]!r}")
        name, label = unquoted(parts[1][::-1]), unquoted(parts[0][::-1])
        if "\0" in name:
            raise UserError(f"{path}:{number}: {name[:80]!r} is no path")
        paths.append(name)
        labels.append(seen.setdefault(label, label))
        numbers.append(number)
    return paths, labels, numbers


def list_lines(records: Iterable[tuple[str, str]]) -> str:
    """Return the text of a list of (path, label), which :func:`read_list` reads back."""
    return "".join(f"{quoted(path)} {quoted(label, spaces=False)}\n" for path, label in records)


def _source(given: dict[str, Path]) -> str:
    return "list " + ", ".join(str(file) for file in given.values())
