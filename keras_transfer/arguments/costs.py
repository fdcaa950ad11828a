"""What mistakes cost: a table of true and predicted classes, in a file or as a mapping."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from keras_transfer.arguments.problems import short
from keras_transfer.errors import UserError, unknown
from keras_transfer.text import one_line

MAX_BYTES = 64 << 20

Table = dict[str, dict[str, float]]


def _table(value: Any) -> Any:
    """Return true class → predicted class → cost, from such a mapping or the path of a CSV file."""
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)):
        return _checked(_read(Path(value)), f"costs: {os.fspath(value)!r}")
    if not isinstance(value, Mapping) or not all(isinstance(row, Mapping) for row in value.values()):
        raise ValueError(f"costs: expected a .csv file, or true class → predicted class → cost, got {short(value)}")
    return _checked({str(true): dict(row) for true, row in value.items()}, "costs")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    where = f"costs: {os.fspath(path)!r}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{where} has more than {MAX_BYTES >> 20} MiB")
        lines = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if any(map(str.strip, row))]
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} is not a CSV file in UTF-8: {error}") from error
    if not lines:
        raise ValueError(f"{where} is empty: expected a line of class names, then a line for each true class")
    names = [name.strip() for name in lines[0][1:]]
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        true, cells = line[0].strip(), line[1:]
        if len(cells) != len(names):
            raise ValueError(
                f"{where}, line {number}: expected {len(names)} costs, as many as class names, got {len(cells)}"
            )
        if true in rows:
            raise ValueError(f"{where}, line {number}: class {one_line(true)!r} occurs twice")
        rows[true] = dict(zip(names, cells))
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: a class name occurs twice in the first line")
    if set(names) != set(rows):
        odd = sorted(set(names) ^ set(rows))[0]
        raise ValueError(
            f"{where}: expected a line and a column for each class; {one_line(odd)!r} has only one of them"
        )
    return rows


def _checked(rows: Mapping[str, Mapping[Any, Any]], where: str) -> Table:
    """Check that costs are finite, not negative, 0 for what is right, and not all 0."""
    found: Table = {}
    for true, row in rows.items():
        found[true] = {}
        for name, given in row.items():
            cost, place = _number(given), f"true {one_line(true)!r}, predicted {one_line(str(name))!r}"
            if cost is None or not cost >= 0 or math.isinf(cost):
                raise ValueError(f"{where}: {place}: expected a finite number of at least 0, got {short(given)}")
            if str(name) == true and cost != 0:
                raise ValueError(f"{where}: {place}: a right prediction costs 0, got {cost:g}")
            found[true][str(name)] = cost
    if not any(cost for row in found.values() for cost in row.values()):
        raise ValueError(f"{where}: all costs are 0: expected one above 0")
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


if TYPE_CHECKING:
    Costs = Mapping[str, Mapping[str, float]] | None
else:
    Costs = Annotated[dict[str, dict[str, float]] | None, BeforeValidator(_table)]
"""A CSV file, or true class → predicted class → cost; it arrives as such a mapping."""


def cost_matrix(costs: Mapping[str, Mapping[str, float]], classes: Sequence[str]) -> np.ndarray:
    """Return the costs in class order, float64 (C, C): rows true, columns predicted.

    Pairs that a mapping leaves out cost 1, and right predictions 0.

    Raises:
        UserError: a class that there is not.
    """
    place = {name: number for number, name in enumerate(classes)}
    found = 1.0 - np.eye(len(classes))
    for true, row in costs.items():
        for name, cost in row.items():
            for each in (true, name):
                if each not in place:
                    raise UserError(f"costs: {unknown('class', each, classes)}")
            found[place[true], place[name]] = cost
    return found


def ranks_of(order: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the rank of each class in an order of them all, from 0.

    Raises:
        UserError: an order that leaves out a class, names one twice, or one that there is not.
    """
    for name in order:
        if name not in classes:
            raise UserError(f"data.ordinal: {unknown('class', name, classes)}")
    missing = [name for name in classes if name not in order]
    if missing or len(order) != len(classes):
        problem = f"{one_line(missing[0])!r} is missing" if missing else "a class is named twice"
        raise UserError(f"data.ordinal: expected each of the {len(classes)} classes once, but {problem}")
    return [list(order).index(name) for name in classes]
