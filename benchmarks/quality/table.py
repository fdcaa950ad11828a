"""Compare the methods: Markdown tables of the cells that all of them share."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.quality.cells import Cell, Key

REFERENCE = "probe"
_COLUMNS = (
    *("method", "accuracy", "rank", f"− {REFERENCE}", f"worst set − {REFERENCE}"),
    *("calibration error", "worst", "seconds"),
)
_Group = Mapping[Key, Cell]


def report(cells: Mapping[Key, Cell], methods: Sequence[str]) -> str:
    """Return all tables: one per size and one over all sizes, then the accuracies by set.

    Args:
        cells: the cells to compare; failed ones are named.
        methods: at least one of their methods, in the order of the rows.
    """
    measured = {key: cell for key, cell in cells.items() if key.method in methods and cell["status"] == "ok"}
    places = shared(measured, methods)
    compared = {key: cell for key, cell in measured.items() if key[:3] in places}
    lines = [f"{len(places)} cells that all methods share, of {_count(len({key[:3] for key in cells}), 'cell')}.", ""]
    sizes = sorted({size for _, size, _ in places})
    for size in sizes:
        part = {key: cell for key, cell in compared.items() if key.size == size}
        lines += [f"### {size} training images, {_count(len(part) // len(methods), 'cell')}", ""]
        lines += [*_summary(part, methods), ""]
    if len(sizes) > 1:
        lines += [f"### All sizes, {len(places)} cells", "", *_summary(compared, methods), ""]
    if places:
        lines += ["### Accuracy by set, in %", "", *_by_set(compared, methods), ""]
    return "\n".join([*lines, *_left_out(cells, measured, places, methods)]).rstrip() + "\n"


def shared(cells: _Group, methods: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the (set, size, seed) that every method has a result for."""
    found = [{key[:3] for key in cells if key.method == method} for method in methods]
    return set.intersection(*found) if found else set()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _summary(cells: _Group, methods: Sequence[str]) -> list[str]:
    ranks = mean_ranks(cells, methods)
    rows = []
    for method in methods:
        mine = {key: cell for key, cell in cells.items() if key.method == method}
        errors = [cell["ece"] for cell in mine.values() if "ece" in cell]
        rows.append(
            [
                f"`{method}`",
                _percent(_mean(cell["accuracy"] for cell in mine.values())),
                f"{ranks[method]:.2f}",
                *_against_reference(cells, method, methods),
                _percent(_mean(errors)) if errors else "–",
                _percent(max(errors)) if errors else "–",
                f"{statistics.median(cell['seconds'] for cell in mine.values()):.0f}",
            ]
        )
    return _markdown(_COLUMNS, rows)


def _against_reference(cells: _Group, method: str, methods: Sequence[str]) -> list[str]:
    if method == REFERENCE or REFERENCE not in methods:
        return ["–", "–"]
    mean, error = difference(cells, method)
    name, lowest, paired = worst_set(cells, method)
    return [_signed(mean, error), f"{name} {_signed(lowest, paired)}"]


def mean_ranks(cells: _Group, methods: Sequence[str]) -> dict[str, float]:
    """Return the mean rank of each method in accuracy, 1 for the best; equal ones share the mean of their ranks."""
    from scipy.stats import rankdata

    places = sorted({key[:3] for key in cells})
    accuracy = np.array([[cells[Key(*place, method)]["accuracy"] for method in methods] for place in places])
    return dict(zip(methods, rankdata(-accuracy, axis=1).mean(axis=0).tolist()))


def difference(cells: _Group, method: str) -> tuple[float, float | None]:
    """Return the mean difference in accuracy to the reference, and its standard error over the cells."""
    values = [
        cell["accuracy"] - _reference(cells, key)["accuracy"] for key, cell in cells.items() if key.method == method
    ]
    return _mean(values), _standard_error(values)


def worst_set(cells: _Group, method: str) -> tuple[str, float, float | None]:
    """Return the set where the method loses most against the reference, or gains least.

    Returns:
        Its name; the difference in accuracy, a mean over its cells; and the standard error of that over the test images:
        of the mean over the cells of 1 where only the method is right, and -1 where only the reference is. None if a cell
        does not say which images are right.
    """
    found = []
    for name in sorted({key.set for key in cells}):
        mine = {key: cell for key, cell in cells.items() if key.method == method and key.set == name}
        mean = _mean(cell["accuracy"] - _reference(cells, key)["accuracy"] for key, cell in mine.items())
        pairs = [(cell.get("correct"), _reference(cells, key).get("correct")) for key, cell in mine.items()]
        known = [_bits(ours) - _bits(theirs) for ours, theirs in pairs if ours and theirs]
        error = _standard_error(np.mean(known, axis=0).tolist()) if len(known) == len(pairs) else None
        found.append((name, mean, error))
    return min(found, key=lambda entry: entry[1])


def _reference(cells: _Group, key: Key) -> Cell:
    return cells[key._replace(method=REFERENCE)]


def _bits(correct: str) -> np.ndarray:
    return np.frombuffer(correct.encode("ascii"), np.uint8).astype(np.float64) - ord("0")


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _standard_error(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _by_set(cells: _Group, methods: Sequence[str]) -> list[str]:
    rows = []
    for name, size in sorted({(key.set, key.size) for key in cells}):
        shown = []
        for method in methods:
            values = [
                cell["accuracy"] for key, cell in cells.items() if key[:2] == (name, size) and key.method == method
            ]
            shown.append(f"{100 * _mean(values):.1f}")
        rows.append([name, str(size), *shown])
    return _markdown(("set", "images", *(f"`{method}`" for method in methods)), rows)


def _left_out(
    cells: Mapping[Key, Cell], measured: _Group, places: set[tuple[str, int, int]], methods: Sequence[str]
) -> list[str]:
    """Name what is not compared: places where methods lack a result, and errors."""
    lines = []
    for place in sorted({key[:3] for key in cells} - places):
        lacking = [method for method in methods if Key(*place, method) not in measured]
        lines.append(f"- left out: {place[0]}, {place[1]} images, seed {place[2]}: no result of {', '.join(lacking)}")
    failed = {key: cell for key, cell in cells.items() if key.method in methods and cell["status"] == "failed"}
    return lines + [f"- failed: {key}: {cell['error']}" for key, cell in sorted(failed.items())]


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _percent(value: float) -> str:
    return f"{value:.2%}".replace("%", " %")


def _signed(value: float, error: float | None) -> str:
    return f"{100 * value:+.2f}{'' if error is None else f' ± {100 * error:.2f}'}"
