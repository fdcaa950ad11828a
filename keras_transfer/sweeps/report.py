"""The page of a sweep, ``report.html``, and its pictures."""

from __future__ import annotations

from typing import Any

import yaml
from markupsafe import Markup

from keras_transfer import __version__, plots
from keras_transfer.files import write_text
from keras_transfer.html.drawing import drawing
from keras_transfer.html.templates import environment, page_file
from keras_transfer.sweeps.dimension import Range
from keras_transfer.sweeps.result import FAILED, LOST, PRUNED, SAME, SweepResult, figure, shown

MOST = 200
"""Trials in the table of the page; the files have all."""
MOST_AXES = 8


def write_report(found: SweepResult) -> None:
    """Write ``report.html``, ``history.png``, ``parallel.png`` and ``importance.png``; at least one trial must be complete.

    Raises:
        UserError: a file cannot be written.
    """
    for name, draw in _pictures(found).items():
        draw(found.folder / f"{name}.png")
    write_text(found.report, render(found))


def render(found: SweepResult) -> str:
    """Return the page, self-contained."""
    best = found.best
    assert best is not None
    labels = {
        "history": f"{found.objective.name} of {len(found.ranked)} trials in order, and the best so far",
        "parallel": "A line for each trial through its values, the best in orange",
        "importance": "Share of the differences between trials that each key explains",
    }
    style = page_file("keras_transfer.report", "report.css") + page_file(__package__ or "", "sweep.css")
    return environment(__package__ or "").get_template("sweep.html").render(
        found=found,
        best=best,
        verdict=figure(found.objective, best["value"]),
        figures={name: drawing(draw, labels[name], f"kt-{name}") for name, draw in _pictures(found).items()},
        params=[(key, shown(value)) for key, value in best["params"].items()],
        rows=[{**row, "shown": [shown(row["params"].get(key)) for key in found.space.keys]} for row in _sorted(found)[:MOST]],
        left=max(0, len(_sorted(found)) - MOST),
        counts=_counts(found),
        config=yaml.safe_dump(found.tree(), sort_keys=False, allow_unicode=True),
        style=Markup(style),  # noqa: S704 - files of this package
        version=__version__,
    )  # fmt: skip


def _pictures(found: SweepResult) -> dict[str, Any]:
    """Return name → function that draws to a file or stream."""
    objective, ranked = found.objective, found.ranked
    name = objective.name.replace("_", " ").capitalize()
    dimensions = _axes(found)
    keys = [each.key for each in dimensions]
    log = [isinstance(each, Range) and each.log for each in dimensions]
    pictures: dict[str, Any] = {
        "history": lambda out: plots.sweep_history(found.trials, name, objective.higher, out),
        "parallel": lambda out: plots.parallel_coordinates(ranked, keys, log, name, objective.higher, out),
    }
    if found.importance:
        pictures["importance"] = lambda out: plots.importance(found.importance, out)
    return pictures


def _axes(found: SweepResult) -> list[Any]:
    """Return the dimensions to draw: if there are many, those that matter most."""
    order = list(found.importance)
    most = sorted(found.space.dimensions, key=lambda each: order.index(each.key) if each.key in order else len(order))[
        :MOST_AXES
    ]
    return [each for each in found.space.dimensions if each in most]


def _sorted(found: SweepResult) -> list[dict[str, Any]]:
    """Return the complete trials, the best first, then the others; without those that were not trained to any end."""
    others = [row for row in found.trials if row["value"] is None and row["state"] not in (LOST, SAME)]
    return [*found.ranked, *others]


def _counts(found: SweepResult) -> str:
    parts = [f"{len(found.ranked)} complete"]
    parts += [f"{found.count(state)} {state}" for state in (PRUNED, FAILED) if found.count(state)]
    return ", ".join(parts)
