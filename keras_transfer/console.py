"""The terminal: bars while something is computed, and what was written.

Rich obeys ``NO_COLOR`` and ``FORCE_COLOR``, and draws plain letters where the terminal knows no others. It is imported when something is
drawn, so that ``--help`` stays instant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from keras_transfer.ipython import in_notebook
from keras_transfer.text import complain

if TYPE_CHECKING:
    import os

    from rich.console import Console

__all__ = ["is_live", "progress", "terminal", "working", "wrote"]


def terminal(stream: TextIO | None = None) -> Console:
    """Return a console that draws on ``stream``, by default standard error."""
    from rich.console import Console

    return Console(file=stream or sys.stderr, highlight=False)


def is_live(console: Console) -> bool:
    """Return whether a line of it can be drawn again: not in a file, a pipe or a notebook, even if ``FORCE_COLOR`` asks for colours."""
    return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal and not in_notebook()


_hidden: list[bool] = []


def hide_progress() -> None:
    """Show no more bars in this process: another one, which works with it, shows them."""
    _hidden.append(True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with the time left, inside the block and on a terminal only.

    Args:
        what: is computed.
        total: number of steps.

    Yields:
        A function that is called with the number of steps done since its last call.
    """
    console = terminal()
    if _hidden or not is_live(console) or total < 1:
        yield lambda steps: None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(escape(what), total=total)
        yield lambda steps: bar.advance(task, steps)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show what is done inside the block, where nobody knows how long it takes; on a terminal only."""
    console = terminal()
    if not is_live(console):
        yield
        return
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        bar.add_task(escape(what), total=None)
        yield


def wrote(path: str | os.PathLike[str]) -> None:
    """Say that a file was written; on standard error, so that output in a pipe stays what it is."""
    complain(f"wrote {path}")
