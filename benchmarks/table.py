"""The result of a case as a table."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table


def case_table(result: dict[str, Any]) -> Table:
    """Return a table with a row per rival: median, range of the rounds, and for ours the ratio to the best rival."""
    better = "more" if result["higher_is_better"] else "less"
    title = f"{result['benchmark']} · {result['case']} · {result['unit']}, {better} is better"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("rival", no_wrap=True)
    for heading in ("median", "range"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("ratio (rounds)", "goal", "other figures"):
        table.add_column(heading)
    for rival in result["rivals"]:
        if rival["status"] != "ok":
            table.add_row(rival["name"], rival["status"], "", "", "", rival["reason"])
            continue
        spread = f"{number(rival['low'])}–{number(rival['high'])}"
        table.add_row(rival["name"], number(rival["median"]), spread, _ratio(rival), _goal(rival), _figures(rival))
    return table


def _ratio(rival: dict[str, Any]) -> str:
    if "ratio" not in rival:
        return ""
    low, high = rival["ratio_low"], rival["ratio_high"]
    return f"{rival['ratio']:.2f} ({low:.2f}–{high:.2f}) × {rival['against']}"


def _goal(rival: dict[str, Any]) -> str:
    if "reached" not in rival:
        return ""
    wanted = [f"≥ {rival['goal']:g} ×"] if "goal" in rival else []
    wanted += [f"{name} ≤ {limit:g}".removeprefix("value ") for name, limit in rival.get("limits", {}).items()]
    return f"{', '.join(wanted)}: {'reached' if rival['reached'] else 'missed'}"


def _figures(rival: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in rival["figures"].items())


def number(value: float) -> str:
    """Format with about three significant digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
