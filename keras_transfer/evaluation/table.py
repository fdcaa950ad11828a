"""Metrics as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from keras_transfer.evaluation.metrics import most_confused
from keras_transfer.text import one_line

__all__ = ["metrics_table", "plain_table"]


def metrics_table(metrics: Mapping[str, Any], title: str = "", max_classes: int = 20, max_confused: int = 5) -> Group:
    """Return the result of `classification_metrics` or `multilabel_metrics` as a text table, for `rich.print`.

    Args:
        metrics: that result, possibly read from JSON.
        title: the heading, e.g. the name of the split.
        max_classes: of more classes, only those with the lowest F1 are listed.
        max_confused: maximum number of confused pairs.
    """
    if "confusion" not in metrics:
        return Group(_overall(metrics, title), _labels(metrics["per_class"], max_classes))
    parts = [_overall(metrics, title), _classes(metrics["per_class"], max_classes)]
    pairs = most_confused(metrics["confusion"], list(metrics["per_class"]), max_confused)
    if pairs:
        parts.append(_confused(pairs))
    return Group(*parts)


def plain_table(title: str, first: str, *others: str) -> Table:
    """Return an empty table in the style of all tables: a column of names, and columns of numbers on the right."""
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _overall(metrics: Mapping[str, Any], title: str) -> Table:
    weighted = metrics.get("weighted")
    heading = f"{title} · {metrics['n']:,} samples" if title else f"{metrics['n']:,} samples"
    table = plain_table(heading, "metric", "value", *(["weighted"] if weighted else []))
    rows: dict[str, tuple[str, Callable[[Any], str]]] = {
        "mean average precision": ("mean_average_precision", _percent),
        "micro F1": ("micro_f1", _percent),
        "all labels right" if metrics.get("task") == "multi" else "accuracy": ("accuracy", _percent),
        "95 % interval": ("accuracy_ci95", _interval),
        "decisions right": ("label_accuracy", _percent),
        "top-5 accuracy": ("top5_accuracy", _percent),
        "balanced accuracy": ("balanced_accuracy", _percent),
        "macro F1": ("macro_f1", _percent),
        "log-loss": ("loss", _plain),
        "calibration error": ("ece", _percent),
        "quadratic kappa": ("quadratic_kappa", _plain),
        "mean cost": (
            "costs",
            lambda found: f"{found['mean']:.4f} (most probable class: {found['most_probable']:.4f})",
        ),
        "rejected as none": ("novelty", lambda found: f"{found['rejected']:.2%} ({found['rate']:.2%} asked for)"),
    }
    for name, (key, form) in rows.items():
        if metrics.get(key) is not None:
            table.add_row(
                name,
                form(metrics[key]),
                *([form(weighted[key]) if weighted.get(key) is not None else "–"] if weighted else []),
            )
    return table


def _classes(per_class: Mapping[str, Mapping[str, float]], limit: int) -> Table:
    rows = list(per_class.items())
    title = "by class"
    if len(rows) > limit:
        title = f"the {limit} of {len(rows)} classes with the lowest F1"
        rows = sorted(rows, key=lambda row: row[1]["f1"])[:limit]
    table = plain_table(title, "class", "precision", "recall", "F1", "samples")
    for name, row in rows:
        # Text instead of str: a class called "[red]" is not markup.
        table.add_row(
            Text(one_line(name)), *(_percent(row[k]) for k in ("precision", "recall", "f1")), f"{row['support']:,}"
        )
    return table


def _labels(per_class: Mapping[str, Mapping[str, float]], limit: int) -> Table:
    """Return a table of several labels per image."""
    rows = list(per_class.items())
    title = "by label"
    if len(rows) > limit:
        title = f"the {limit} of {len(rows)} labels with the lowest average precision"
        rows = sorted(rows, key=lambda row: (row[1]["average_precision"] is None, row[1]["average_precision"]))[:limit]
    table = plain_table(title, "label", "average precision", "precision", "recall", "F1", "samples", "from")
    for name, row in rows:
        figures = (_percent(row[k]) for k in ("average_precision", "precision", "recall", "f1"))
        table.add_row(Text(one_line(name)), *figures, f"{row['support']:,}", f"{row['threshold']:.2f}")
    return table


def _confused(pairs: list[dict[str, Any]]) -> Table:
    table = plain_table("most confused", "true class", "predicted", "samples", "of its class")
    table.columns[1].justify = "left"
    for pair in pairs:
        table.add_row(
            Text(one_line(pair["true"])),
            Text(one_line(pair["predicted"])),
            f"{pair['count']:,}",
            _percent(pair["share"]),
        )
    return table


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _percent(value: float | None) -> str:
    return f"{value:.2%}" if _is_known(value) else "–"


def _plain(value: float | None) -> str:
    return f"{value:.4f}" if _is_known(value) else "–"


def _interval(value: list[float] | None) -> str:
    return "–" if value is None else f"{value[0]:.2%} – {value[1]:.2%}"
