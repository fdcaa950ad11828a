"""CSV files with the columns path and label (or labels), and optionally split, weight and group."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import MISSING
from keras_transfer.data.samples import SPLITS, SampleTable
from keras_transfer.data.sources._files import Lines
from keras_transfer.data.sources._labels import ClassNames, class_names, index_labels
from keras_transfer.data.sources._several import SEPARATOR, cells, from_names, from_table, is_cell, names_in
from keras_transfer.data.sources._split_names import SPLIT_FOLDERS
from keras_transfer.data.sources.list_file import build
from keras_transfer.errors import UserError, unknown

COLUMNS = ("path", "label", "split", "weight", "group")
SEVERAL = "labels"


def load(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, classes: ClassNames = None
) -> SampleTable:
    """Read a comma-separated UTF-8 file with a header line.

    Args:
        path: the file. Columns, in any order: `path`, `label` (a class name, or a number, see `list_file.load`), and optionally `split`
            (train, val, test or empty), `weight` (a number of at least 0; empty means 1) and `group` (samples of a
            group, e.g. one patient, stay in one split; empty means no group). For several labels per image, a column `labels` takes the
            place of `label`: `cat;dog`, or nothing for an image without any; or there is a column of 0 and 1 for each label, by its name.
        root: folder that relative paths start from; by default that of the file.
        classes: class names in label order, or a text file with one per line.

    Raises:
        UserError: an unknown or missing column, or an invalid row, with file and line number.
    """
    file = Path(path)
    rows = _read(file)
    header, several = _header(file, rows)
    width = len(header)
    numbers, records = [], []
    for number, row in rows[1:]:
        if len(row) != width:
            raise UserError(f"{file}:{number}: expected {width} fields, received {len(row)}")
        numbers.append(number)
        records.append(row)
    if not records:
        raise UserError(f"{file}: no rows below the header")
    where = Lines()
    where.add(file, numbers)
    columns = {name: [row[k].strip() for row in records] for k, name in enumerate(header)}
    for name in ("path", "label"):
        if "" in columns.get(name, ()):
            raise UserError(f"{where(columns[name].index(''))}: the {name} is empty")
    for i, name in enumerate(columns.get("group", ())):
        if name in MISSING:
            raise UserError(f"{where(i)}: the group {name!r} stands for a missing value; leave it empty for no group")
    for i, name in enumerate(columns["path"]):
        if "\0" in name:
            raise UserError(f"{where(i)}: {name[:80]!r} is no path")
    folder = Path(root) if root is not None else file.parent
    if not folder.is_dir():
        raise UserError(f"root: no such folder: {str(folder)!r}")
    known, labels, notes = _labels(columns, several, class_names(classes), where, f"csv {file}")
    return build(
        columns["path"],
        known,
        labels,
        _split(columns.get("split"), len(records), where),
        where,
        folder,
        f"csv {file}",
        _weights(columns["weight"], where) if "weight" in columns else None,
        np.array(columns["group"], object) if "group" in columns else None,
        notes,
    )


def load_labels(path: Path, classes: ClassNames, source: str) -> SampleTable:
    """Read the label file of a folder of images; `source` is the name of the data in errors and summaries."""
    return replace(load(path, path.parent, classes), source=source)


def has_several(path: Path) -> bool:
    """Return whether this is a CSV file that gives images several labels each, as far as its first two lines say."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            first, second = next(reader, []), next(reader, [])
    except (OSError, ValueError, csv.Error):
        return False
    header = [name.strip().lower() for name in first]
    own = [k for k, name in enumerate(header) if name not in COLUMNS]
    if "path" not in header or "label" in header or len(first) != len(second):
        return False
    return SEVERAL in header or (len(own) > 1 and all(is_cell(second[k].strip()) for k in own))


def _labels(
    columns: dict[str, list[str]],
    several: list[str],
    classes: tuple[str, ...] | None,
    where: Lines,
    source: str,
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Return class names, labels, and what is to be said about them; see `_header` for the columns with several labels."""
    if several == [SEVERAL]:
        known, labels = from_names([names_in(cell) for cell in columns[SEVERAL]], classes, where)
    elif several:
        known, labels = from_table(cells([columns[name] for name in several]), several, classes, source)
    else:
        known, labels = index_labels(columns["label"], classes, where)
        if any(SEPARATOR in name for name in known):
            return (
                known,
                labels,
                [f"each text with {SEPARATOR!r} is one class; for several labels call the column labels"],
            )
        return known, labels, []
    odd = next(
        (name for name in known if len(parts := re.split(r"\s*[,|/+]\s*", name)) > 1 and set(parts) <= set(known)), None
    )
    notes = [] if odd is None else [f"warning: {odd!r} is one label; labels have {SEPARATOR!r} between them"]
    return known, labels, notes if labels.ndim == 2 else [*notes, "every image has exactly one label: they are classes"]


def _read(file: Path) -> list[tuple[int, list[str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = []
            start = 1
            for row in reader:
                if row:
                    rows.append((start, row))
                start = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: expected UTF-8 text: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read the CSV file {str(file)!r}: {error.strerror or error}") from None
    if not rows:
        raise UserError(f"{file}: the file is empty: expected a header line with path,label")
    return rows


def _header(file: Path, rows: list[tuple[int, list[str]]]) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and which of them hold several labels: `labels`, or one for each label, or none."""
    number, first = rows[0]
    header = [name.strip().lower() for name in first]
    several = _columns_of_labels(file, rows, header)
    if several:
        for k, name in enumerate(first):
            header[k] = name.strip() if header[k] not in COLUMNS and several != [SEVERAL] else header[k]
        if len(set(header)) < len(header):
            raise UserError(f"{file}:{number}: a column occurs twice: {', '.join(header)}")
        return header, several
    for name in header:
        other = next((sign for sign in ";\t|" if sign in name), "")
        if other and all(part.strip(' "') in COLUMNS for part in name.split(other)):
            raise UserError(f"{file}:{number}: expected commas between the columns, received {other!r}")
        if name not in COLUMNS:
            raise UserError(f"{file}:{number}: {unknown('column', name, COLUMNS)}")
    for name in COLUMNS[:2]:
        if name not in header:
            raise UserError(f"{file}:{number}: the column {name!r} is missing: received {', '.join(header)}")
    if len(set(header)) < len(header):
        raise UserError(f"{file}:{number}: a column occurs twice: {', '.join(header)}")
    return header, []


def _columns_of_labels(file: Path, rows: list[tuple[int, list[str]]], header: list[str]) -> list[str]:
    """Return the names of the columns that hold several labels, if that is what the file is.

    A mistyped column is none: columns of labels are at least two, all of 0 and 1 but for a few fields, which are then the mistake.
    """
    if "path" not in header:
        return []
    number, first = rows[0]
    own = [k for k, name in enumerate(header) if name not in COLUMNS]
    if SEVERAL in header:
        more = [name for name in header if name == "label" or name not in (*COLUMNS, SEVERAL)]
        if more:
            raise UserError(f"{file}:{number}: expected the labels in one column {SEVERAL!r}, received {more[0]!r} too")
        return [SEVERAL]
    if "label" in header or len(own) < 2:
        return []
    found = [(line, k, row[k].strip()) for line, row in rows[1:] if len(row) == len(first) for k in own]
    odd = [place for place in found if not is_cell(place[2])]
    if len(odd) * 2 > len(found) or not found:
        return []
    if odd:
        line, k, text = odd[0]
        raise UserError(f"{file}:{line}: expected 0 or 1 in the column {first[k].strip()!r}, received {text[:40]!r}")
    names = [first[k].strip() for k in own]
    if "" in names:
        raise UserError(f"{file}:{number}: a column of labels has no name")
    return names


def _split(column: list[str] | None, count: int, where: Lines) -> np.ndarray:
    if column is None:
        return np.full(count, "", object)
    table = {"": "", **SPLIT_FOLDERS}
    for i, value in enumerate(column):
        if value.lower() not in table:
            raise UserError(f"{where(i)}: {unknown('split', value, SPLITS)}")
    return np.array([table[value.lower()] for value in column], object)


def _weights(column: list[str], where: Lines) -> np.ndarray:
    weights = np.ones(len(column), np.float32)
    for i, value in enumerate(column):
        try:  # Python's numbers may have underscores and digits of any script
            weight = float(value or 1) if value.isascii() and "_" not in value else np.nan
        except ValueError:
            weight = np.nan
        if not 0 <= weight <= float(np.finfo(np.float32).max):
            raise UserError(f"{where(i)}: weight {value!r}: expected a finite number of at least 0")
        weights[i] = weight
    return weights
