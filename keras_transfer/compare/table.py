"""The comparison as a terminal table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from keras_transfer.plots.runs import duration

HEADINGS = ("run\nmodel, backend, device", "test accuracy\n95 % interval", "val", "time\nepochs", "images/s\nper phase",
            "parameters\ntrained\nfile")  # fmt: skip


def comparison_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with one row per run; multi-line cells keep it within 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        if number == 0:
            table.add_column(heading, overflow="fold", min_width=14)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = _finished(row) if row["state"] == "finished" else [f"{row['name']}\n{row['state']}"]
        table.add_row(*map(Text, cells))  # as Text, since a run may be called "[red]"
    return table


def _finished(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['name']}\n{row['backbone']}, {row['backend']}, {row['device']}",
        _accuracy(row, "test") + (f"\n{row['test_low']:.1%} – {row['test_high']:.1%}" if "test_n" in row else ""),
        _accuracy(row, "val") + ("\nfolds" if row.get("val_of") else ""),
        f"{duration(row['seconds'])}\n{row['epochs']}",
        "\n".join(_rate(phase["images_per_second"]) for phase in row["phases"]),
        f"{_short(row['parameters'])}\n{_short(row['trainable_parameters'])}\n{_megabytes(row['file_bytes'])}",
    ]


def _accuracy(row: dict[str, Any], split: str) -> str:
    return f"{row[f'{split}_accuracy']:.2%}" if f"{split}_n" in row else "–"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _short(count: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}"


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:.2f} MB"
