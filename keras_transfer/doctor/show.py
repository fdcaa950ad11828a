"""Show findings: a table in the terminal, and a contact sheet of their images."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.dataset import Split
from keras_transfer.data.samples import SampleTable
from keras_transfer.text import one_line

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_SHEET = 32  # images on a contact sheet


def print_report(report: dict[str, Any]) -> None:
    """Print what :func:`keras_transfer.doctor.doctor` returns."""
    splits = ", ".join(f"{name} {count:,}" for name, count in report["splits"].items())
    console = Console()
    console.print(
        escape(f"{one_line(report['source'])}: {report['images']:,} images, {report['classes']} classes ({splits})")
    )
    if not report["findings"]:
        console.print("no problems found")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("severity", "check", "finding", "for example"):
        table.add_column(heading, overflow="fold")
    for row in report["findings"]:
        colour = _COLOURS[row["severity"]]
        example = " = ".join(row["images"][0][:2]) if row["images"] else ""
        table.add_row(
            f"[{colour}]{row['severity']}[/]", row["check"], escape(one_line(row["message"])), escape(one_line(example))
        )
    console.print(table)


def draw_sheet(path: str, samples: SampleTable, found: list[Finding]) -> bool:
    """Draw images of every finding, copies and near duplicates side by side.

    Returns:
        False if no finding has readable images, as in clean data: there is no file then.

    Raises:
        UserError: the file cannot be written.
    """
    from keras_transfer.plots import prediction_grid

    chosen = _choose([f for f in found if f.images and f.check != "unreadable"])
    if not chosen:
        return False
    images = [samples.images.read(i) for i, _ in chosen]
    everything = Split("all", samples, np.arange(len(samples)))
    titles = [
        f"{textwrap.fill(check, 16)}\n{', '.join(everything.names_of(i)) or 'no label'}\n{Path(samples.images.name(i)).name}"
        for i, check in chosen
    ]
    prediction_grid(images, titles, path, title=f"{samples.source}: findings")
    return True


def _choose(findings: list[Finding]) -> list[tuple[int, str]]:
    """Choose (image, check) pairs for the sheet, as many for each finding."""
    chosen: list[tuple[int, str]] = []
    for finding in findings:
        room = max(2, _SHEET // len(findings))
        drawn = {i for i, _ in chosen}
        here: list[tuple[int, str]] = []
        for group in finding.images:
            if drawn.issuperset(group[:2]):
                continue
            if len(here) + min(len(group), 2) > room:
                break
            here += [(i, finding.check) for i in group[:2]]
        chosen += here
    return chosen[:_SHEET]
