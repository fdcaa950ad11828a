"""Pictures with labels that are added to the data of a run: corrections, more data, pictures of a new class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import class_name, normal
from keras_transfer.data.builder import load_source
from keras_transfer.data.checks.verify import drop_bad
from keras_transfer.data.dataset import Split
from keras_transfer.data.paths import source_of
from keras_transfer.data.samples import FileStore, ImageStore, SampleTable, make_samples
from keras_transfer.data.sources._files import Lines, check_existence, relative_names
from keras_transfer.data.sources.list_file import class_names, index_labels, read_list
from keras_transfer.errors import UserError, nearest
from keras_transfer.evaluation.predict import find_images
from keras_transfer.revise.label_text import SEPARATOR, joined, names_of

_MARK = "="


@dataclass(frozen=True)
class Additions:
    """Pictures that have a label, from one place.

    Attributes:
        images: the pictures, all readable; files know the hashes of their contents.
        labels: the class name of each; of several labels, all of them (:func:`~keras_transfer.revise.label_text.joined`).
        split: ``"train"`` or ``"test"``, for each.
        source: where they come from, for messages.
        weights, groups: of the pictures, or nothing.
        corrects: whether they are corrections: one that the data have already is trained on, whatever its split was.
    """

    images: ImageStore
    labels: tuple[str, ...]
    split: tuple[str, ...]
    source: str
    weights: tuple[float, ...] = ()
    groups: tuple[str, ...] = ()
    corrects: bool = True

    def __len__(self) -> int:
        return len(self.labels)


def corrections(path: str | Path, classes: Sequence[str], new: Iterable[str] = (), several: bool = False) -> Additions:
    """Read a list of ``path label`` lines, as ``serve`` and ``suggest`` write it.

    Args:
        path: the list; or the folder with ``list.txt`` in it. Paths are relative to its folder.
        classes: class names of the run. A label is one of them, or one of ``new``, or of ``classes.txt`` beside the list.
        new: names of classes that the run does not have.
        several: whether a picture may have several labels: those of a line have ``;`` between them, and ``;`` alone is none of them.

    Raises:
        UserError: no such list, a file that is missing or cannot be read, a label that is no class.
    """
    file = Path(path)
    file = file / "list.txt" if file.is_dir() else file
    if file.suffix.lower() in (".csv", ".npz", ".json", ".zip"):
        raise UserError(
            f"{file}: --add takes a list of `path label` lines, such as corrections.txt; --data takes other pictures with labels"
        )
    names, labels, numbers = read_list(file)
    if not names:
        raise UserError(f"{file}: no lines; expected `path label`")
    beside = file.parent / "classes.txt"
    known = (*classes, *map(normal, new), *((class_names(beside) or ()) if beside.is_file() else ()))
    known = tuple(dict.fromkeys(known))
    if several:
        names, labels = _with_several(names, labels, known, file.parent)
    else:
        names, labels = _with_spaces(names, labels, known, file.parent)
    lines = Lines()
    lines.add(file, numbers)
    lists = [names_of(label, several) for label in labels]
    owners = [i for i, one in enumerate(lists) for _ in one]
    written = [name for one in lists for name in one]
    _check_known(written, known, lambda i: lines(owners[i]))
    found, places = index_labels(written, known, lambda i: lines(owners[i]))
    of_line: list[list[str]] = [[] for _ in lists]
    for owner, place in zip(owners, places):
        of_line[owner].append(found[place])
    names = check_existence(relative_names(names, file.parent), file.parent, lines)
    table = _table(
        FileStore(names, file.parent), [joined(one) if several else one[0] for one in of_line], source=str(file)
    )
    return _checked(table)


def _with_spaces(
    names: list[str], labels: list[str], known: Sequence[str], folder: Path
) -> tuple[list[str], list[str]]:
    """Return paths and labels where lines end with a class name that has spaces in it, as a person may write it, with or without quotes."""
    spaced = sorted((name for name in known if " " in name), key=len, reverse=True)
    ends = [(f" {form}", name) for name in spaced for form in (name, f'"{name}"')]
    found = []
    for name, label in zip(names, labels):
        line = f"{name} {label}"
        end, whole = next((one for one in ends if line.endswith(one[0])), ("", label))
        path = line[: -len(end)].rstrip() if end else name
        found.append((name, label) if not end or (folder / name).is_file() else (path, whole))
    return [name for name, _ in found], [label for _, label in found]


def _with_several(
    names: list[str], labels: list[str], known: Sequence[str], folder: Path
) -> tuple[list[str], list[str]]:
    """Return paths and labels of lines that end with several labels, some of which may have spaces in them."""
    valid, found = set(map(normal, known)), []
    for name, label in zip(names, labels):
        line, best = f"{name} {label}", (name, label)
        for place in (place for place in range(len(line) - 1, 0, -1) if line[place] == " "):
            path, rest = line[:place].rstrip(), line[place:].strip().strip('"')
            if (folder / path).is_file() and all(normal(one) in valid for one in names_of(rest, True)):
                best = (path, rest)
                break
        found.append(best)
    return [name for name, _ in found], [label for _, label in found]


def more_data(path: str, classes: Sequence[str], new: Iterable[str] = (), several: bool = False) -> Additions:
    """Read a folder, a list, a CSV or an ``.npz`` file; pictures that it holds for testing are added to the test pictures.

    Where pictures may have several labels, those of data with one for each have that one and no other.

    Raises:
        UserError: no such data, a picture that cannot be read, a class that is not known.
    """
    options: dict[str, str] = dict(source_of(path))
    source = options.pop("source")
    samples = load_source(source, options)
    known = tuple(dict.fromkeys((*classes, *new)))
    if samples.is_multi and not several:
        raise UserError(
            f"{path} gives pictures several labels, the run has one class for each: nothing says which it is"
        )
    lists = Split("all", samples, np.arange(len(samples)))
    labels = [lists.names_of(i) for i in range(len(samples))]
    written = sorted({name for one in labels for name in one})
    _check_known(written, known, lambda _: path, by_place=source != "folder")
    found, places = index_labels(written, known, lambda _: path)
    called = {name: found[place] for name, place in zip(written, places)}
    split = ["test" if name == "test" else "train" for name in samples.split]
    table = _table(samples.images, [joined(called[name] for name in one) for one in labels], split, path)
    return _checked(replace(table, weights=samples.weights, groups=samples.groups), corrects=False)


def of_class(paths: Sequence[str], label: str, test_fraction: float, seed: int) -> Additions:
    """Return pictures of one class: files, and all images in folders. Of five or more, some are kept for testing.

    Args:
        paths: files and folders.
        label: name of the class.
        test_fraction: share kept for testing.
        seed: of that choice.

    Raises:
        UserError: nothing there, a picture that cannot be read, or fewer than two pictures.
    """
    found = [Path(path).absolute() for path in find_images(paths)]
    if len(found) < 2:
        raise UserError(f"only one picture of {label!r}; expected at least two, better twenty")
    split = np.full(len(found), "train", object)
    if len(found) >= 5 and test_fraction > 0:
        count = min(max(1, round(test_fraction * len(found))), len(found) - 2)
        split[np.random.default_rng(seed).permutation(len(found))[:count]] = "test"
    return _checked(_table(FileStore([str(path) for path in found]), [label] * len(found), split.tolist(), label))


def new_class(name: str, classes: Sequence[str], several: bool = False) -> str:
    """Return the name of a class to be added, in the form in which it is stored.

    Raises:
        UserError: it is blank, there is such a class already, or it is to be one of ``several`` labels and has their separator in it.
    """
    try:
        found = normal(class_name(name).strip())
    except ValueError as error:
        raise UserError(str(error)) from None
    if several and SEPARATOR in found:
        raise UserError(f"a label with {SEPARATOR!r} in its name ({found!r}) cannot be told from two")
    if found in map(normal, classes):
        raise UserError(f"there is a class {found!r} already; retrain --data adds pictures to it")
    return found


def _check_known(
    labels: Sequence[str], known: Sequence[str], where: Callable[[int], str], by_place: bool = True
) -> None:
    """Raise UserError for a label that is no class; ``by_place``: a number may be a place in the classes."""
    valid = {*known, *(map(str, range(len(known))) if by_place else ())}  # `serve` of version 0.1 wrote some as places
    i = next((i for i, one in enumerate(labels) if normal(one) not in valid), None)
    if i is None:
        return
    parts = names_of(labels[i], True)
    if len(parts) > 1 and valid.issuperset(map(normal, parts)):
        raise UserError(
            f"{where(i)}: {labels[i]!r} is given as one label; for a run with several labels for a picture, a CSV file has them in a column "
            "`labels`"
        )
    raise UserError(
        f"{where(i)}: {labels[i]!r} is not a class of the run{nearest(labels[i], known)} "
        f"(a class that is new: --new-class {labels[i]!r})"
    )


def _table(
    images: ImageStore, labels: Sequence[str], split: Sequence[str] | None = None, source: str = ""
) -> SampleTable:
    """Return pictures with class names, or texts of several, as a table in which each such text is a class, after a mark: none may be empty."""
    labels = [_MARK + label for label in labels]
    names = sorted(set(labels))
    places = {name: place for place, name in enumerate(names)}
    return make_samples(
        names, images, [places[label] for label in labels], split or ["train"] * len(labels), source=source
    )


def _checked(table: SampleTable, corrects: bool = True) -> Additions:
    """Return the pictures of a table as additions, once all of them can be read."""
    table, _ = drop_bad(table, "error", advice=f" ({table.source})")
    return Additions(
        table.images,
        tuple(table.classes[label].removeprefix(_MARK) for label in table.labels),
        tuple(table.split.tolist()),
        table.source,
        () if table.weights is None else tuple(map(float, table.weights)),
        () if table.groups is None else tuple(map(str, table.groups)),
        corrects,
    )
