"""The card at the end of a training: the result with its interval, what stood out, and below it what to do next."""

from __future__ import annotations

import shlex
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from keras_transfer.evaluation.intervals import of_proportion
from keras_transfer.formatting import printable, range_of, share
from keras_transfer.report.run_view import RunView
from keras_transfer.report.sections.result import remarks

__all__ = ["finish_card", "show"]

MOST_REMARKS = 4


def show(console: Console, view: RunView) -> None:
    """Print the card of a finished run, and the next commands below it."""
    console.print(finish_card(view))
    console.print(Text("Next", style="bold"))
    for line in next_commands(view):
        # However narrow the terminal, on a line of its own, so that it can be copied.
        console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)


def finish_card(view: RunView) -> Panel:
    """Return the card of a finished run: the result and what stood out. It has no background, so it suits light and dark.

    Raises:
        UserError: the run did not finish.
    """
    figures = view.figures
    accuracy, n = figures["accuracy"], figures["n"]
    right = round(accuracy * n)
    of = {"test": "test images", "validation": "validation images", "training": "training images (out of fold)"}[
        view.kind
    ]
    result = (
        _of_labels(figures, of)
        if view.is_multi
        else Text.assemble(
            (share(accuracy), "bold green"),
            f" right: {right:,} of {n:,} {of}\n",
            ("95\u00a0% interval " + range_of(of_proportion(accuracy, n)), "dim"),
        )
    )
    noted = [_bullet(printable(line)) for line in list(remarks(view))[:MOST_REMARKS]]
    parts: list[Text | Padding] = [result]
    if noted:
        parts += [Text("\nWhat stood out", style="bold"), *noted]
    return Panel(
        Group(*parts),
        title=Text(f" {printable(view.config.name)} ", style="bold"),
        title_align="left",
        box=box.HORIZONTALS,
        padding=(0, 0),
    )


def _of_labels(figures: dict[str, Any], of: str) -> Text:
    average = figures["mean_average_precision"]
    parts: list[str | tuple[str, str]] = (
        [] if average is None else [(share(average), "bold green"), " mean average precision\n"]
    )
    shares = f"F1 {share(figures['micro_f1'])} (micro), {share(figures['macro_f1'])} (macro); all labels right on {share(figures['accuracy'])}"
    return Text.assemble(*parts, f"{shares} of {figures['n']:,} {of}")


def next_commands(view: RunView) -> list[str]:
    """Return three commands to copy."""
    path = str(view.run.path)
    look = (
        ["explain", "top-losses", path, "--output", "mistakes.png"]
        if view.split == "test" and not view.is_multi
        else ["evaluate", path, "--data", "others/"]
    )
    return [
        shlex.join(["keras-transfer", "predict", path, "new.jpg"]),
        shlex.join(["keras-transfer", *look]),
        shlex.join(["keras-transfer", "serve", path]),
    ]


def _bullet(line: str) -> Padding:
    return Padding(Text(f"• {line}"), (0, 0, 0, 2))
