"""The comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from keras_transfer.report.plots.style import shorten

COLUMNS = ("run", "test accuracy", "val", "time", "images/s", "parameters", "file")


def comparison_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a row a run, of two lines and more: intervals below accuracies, trained below all parameters, a rate a phase."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in COLUMNS:
        first = heading == COLUMNS[0]
        table.add_column(heading, justify="left" if first else "right", overflow="fold", no_wrap=not first)
    for row in rows:
        table.add_row(*(_finished(row) if row["state"] == "finished" else [Text(f"{row['name']}\n{row['state']}")]))
    return table


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _finished(row: dict[str, Any]) -> list[Text]:
    rates = [f"{shorten(phase['name'], 8)} {_rate(phase['images_per_second'])}" for phase in row["phases"]]
    megabytes = "–" if row["file_bytes"] is None else f"{row['file_bytes'] / 1e6:.3g} MB"
    cells = [
        f"{row['name']}\n{row['backbone']}, {row['backend']}, {row['device']}",
        _accuracy(row, "test"),
        _accuracy(row, "val"),
        f"{duration(row['seconds'])}\n{row['epochs']} epochs",
        "\n".join(rates),
        f"{row['parameters']:,}\n{row['trainable_parameters']:,} trained",
        megabytes,
    ]
    return [Text(cell) for cell in cells]  # a run called "[red]" is a name and not markup


def _accuracy(row: dict[str, Any], split: str) -> str:
    if row.get(f"{split}_accuracy") is None:
        return "–"
    interval = f"{row[f'{split}_low']:.2%} – {row[f'{split}_high']:.2%}"
    return f"{row[f'{split}_accuracy']:.2%}" + (f"\n{interval}" if split == "test" else "")


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
