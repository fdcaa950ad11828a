"""Text files with a path and a label per line (the format of Caffe and of ImageNet's lists)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_transfer.data.samples import FileStore, SampleTable, make_samples
from keras_transfer.data.sources._files import Lines, check_existence, drop_repeats, relative_names
from keras_transfer.data.sources._labels import ClassNames, class_names, index_labels, read_lines
from keras_transfer.errors import UserError

PathLike = str | os.PathLike[str]


def load(
    path: PathLike | None = None,
    root: PathLike | None = None,
    train: PathLike | None = None,
    val: PathLike | None = None,
    test: PathLike | None = None,
    classes: ClassNames = None,
) -> SampleTable:
    """Read lists of `path label` lines.

    The label is the text after the last white space, so paths may hold spaces. It is a class name or a number; see
    `classes`. Empty lines are skipped. An image listed twice with the same label counts once.

    Args:
        path: one list of all images, to be split. Instead of it:
        train: list of the training images.
        val: list of the validation images; default: they are split off from the training images.
        test: list of the test images; likewise.
        root: folder that relative paths start from; by default the folder of the (first) list.
        classes: class names in label order, or a text file with one per line. Default: the labels, in numerical order
            if all are integers, else in alphabetical order.

    Raises:
        UserError: no list is given or it cannot be read, a line has no label, a label is out of range, a path does not
            exist, or occurs with two labels or in two lists; names file and line.
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
    return build(names, written, np.concatenate(split), where, folder, class_names(classes), _source(given))


def build(
    paths: list[str],
    written: list[str],
    split: np.ndarray,
    where: Lines,
    root: Path,
    classes: tuple[str, ...] | None,
    source: str,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> SampleTable:
    """Resolve and check paths and labels, and make the sample table."""
    classes, labels = index_labels(written, classes, where)
    names = relative_names(paths, root)
    check_existence(names, root, where)
    keep, dropped = drop_repeats(names, labels, split, where)
    notes = [f"left out: {dropped} repeated lines"] if dropped else []
    if keep is not None:
        names, labels, split = [names[i] for i in keep], labels[keep], split[keep]
        weights = None if weights is None else weights[keep]
        groups = None if groups is None else groups[keep]
    return make_samples(classes, FileStore(names, root), labels, split, weights, groups, source, notes)


def read_list(path: PathLike) -> tuple[list[str], list[str], list[int]]:
    """Return paths, written labels and line numbers of one list; a UserError names the line."""
    paths, labels, numbers = [], [], []
    seen: dict[str, str] = {}  # one string per distinct label saves memory in long lists
    for number, line in enumerate(read_lines(path, "list of images"), 1):
        parts = line.rsplit(None, 1)
        if len(parts) != 2:
            if not parts:
                continue
            raise UserError(f"{path}:{number}: expected `path label`, received {line.strip()[:80]!r}")
        paths.append(parts[0].lstrip())
        labels.append(seen.setdefault(parts[1], parts[1]))
        numbers.append(number)
    return paths, labels, numbers


def _source(given: dict[str, Path]) -> str:
    return "list " + ", ".join(str(file) for file in given.values())
