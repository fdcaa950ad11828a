"""CSV files with the columns path and label, and optionally split, weight and group."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from keras_transfer.arguments.names import MISSING
from keras_transfer.data.samples import SPLITS, SampleTable
from keras_transfer.data.sources._files import Lines
from keras_transfer.data.sources._labels import ClassNames, class_names
from keras_transfer.data.sources.folder import SPLIT_FOLDERS
from keras_transfer.data.sources.list_file import build
from keras_transfer.errors import UserError, unknown

COLUMNS = ("path", "label", "split", "weight", "group")


def load(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, classes: ClassNames = None
) -> SampleTable:
    """Read a comma-separated UTF-8 file with a header line.

    Args:
        path: the file. Columns, in any order: `path`, `label` (a class name, or a number, see `list_file.load`), and optionally `split`
            (train, val, test or empty), `weight` (a number of at least 0; empty means 1) and `group` (samples of a
            group, e.g. one patient, stay in one split; empty means no group).
        root: folder that relative paths start from; by default that of the file.
        classes: class names in label order, or a text file with one per line.

    Raises:
        UserError: an unknown or missing column, or an invalid row, with file and line number.
    """
    file = Path(path)
    rows = _read(file)
    header = _header(file, rows)
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
        if "" in columns[name]:
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
    return build(
        columns["path"],
        columns["label"],
        _split(columns.get("split"), len(records), where),
        where,
        folder,
        class_names(classes),
        f"csv {file}",
        _weights(columns["weight"], where) if "weight" in columns else None,
        np.array(columns["group"], object) if "group" in columns else None,
    )


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


def _header(file: Path, rows: list[tuple[int, list[str]]]) -> list[str]:
    number, first = rows[0]
    header = [name.strip().lower() for name in first]
    for name in header:
        if name not in COLUMNS:
            raise UserError(f"{file}:{number}: {unknown('column', name, COLUMNS)}")
    for name in COLUMNS[:2]:
        if name not in header:
            raise UserError(f"{file}:{number}: the column {name!r} is missing: received {', '.join(header)}")
    if len(set(header)) < len(header):
        raise UserError(f"{file}:{number}: a column occurs twice: {', '.join(header)}")
    return header


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
        try:
            weights[i] = float(value) if value else 1.0
        except ValueError:
            weights[i] = np.nan
        if not (np.isfinite(weights[i]) and weights[i] >= 0):
            raise UserError(f"{where(i)}: weight {value!r}: expected a finite number of at least 0")
    return weights
