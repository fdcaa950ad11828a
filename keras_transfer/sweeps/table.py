"""The best trials as a terminal table."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from keras_transfer import formatting
from keras_transfer.sweeps.result import SweepResult, shown

MOST = 10


def trials_table(found: SweepResult) -> Table:
    """Return a table of the best trials, a row each, the keys below each other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("trial", found.objective.name.replace("_", "\n"), "epochs", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for place, row in enumerate(found.ranked[:MOST]):
        settings = ", ".join(f"{key}={shown(value)}" for key, value in row["params"].items())
        cells = [
            str(row["trial"]),
            f"{row['value']:.4f}",
            str(row["epochs"]),
            formatting.seconds(row["seconds"]),
            settings,
        ]
        table.add_row(*(Text(cell, style="bold" if place == 0 else "") for cell in cells))
    return table
