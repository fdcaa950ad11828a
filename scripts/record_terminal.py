"""Record a command as an SVG whose lines appear as they did: `python scripts/record_terminal.py OUT COMMAND…`.

Writes OUT-light.svg and OUT-dark.svg, for the README. The command runs in the current folder; its pauses are shortened.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

WIDTH = 104
LONGEST_PAUSE = 0.8
"""Seconds that a pause of the recording has at most."""
_LINE = re.compile(r'clip-path="url\(#terminal-line-(\d+)\)"')


def main(target: str, *words: str) -> None:
    lines, delays = record(list(words))
    for name, theme in (("light", DEFAULT_TERMINAL_THEME), ("dark", MONOKAI)):
        Path(f"{target}-{name}.svg").write_text(drawn(lines, delays, theme), encoding="utf-8")
        print(f"wrote {target}-{name}.svg")


def record(words: list[str]) -> tuple[list[str], list[float]]:
    """Run a command; return its lines, of both streams, and when each appears, in seconds."""
    environment = {
        **os.environ,
        "FORCE_COLOR": "1",
        "COLUMNS": str(WIDTH),
        "PYTHONUNBUFFERED": "1",
        "TTY_INTERACTIVE": "0",
    }
    lines, delays, last = [f"$ {shlex.join(words)}"], [0.0], time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            now = time.perf_counter()
            lines.append(line.rstrip("\n").replace(f"{Path.cwd()}/", "").replace(str(Path.home()), "~"))
            delays.append(delays[-1] + min(now - last, LONGEST_PAUSE))
            last = now
    if process.returncode:
        sys.exit(f"{shlex.join(words)} ended with status {process.returncode}")
    return lines, delays


def drawn(lines: list[str], delays: list[float], theme: TerminalTheme) -> str:
    """Return the SVG; without animation, or where it is unwelcome, all lines are there at once."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, highlight=False)
    times: list[float] = []
    for line, delay in zip(lines, delays):
        text = Text.from_ansi(line)
        if line.startswith("$ "):
            text.stylize("bold")
        rows = max(1, len(text.wrap(console, WIDTH)))
        console.print(text)
        times += [delay] * rows
    svg = console.export_svg(title="Terminal", theme=theme, unique_id="terminal", font_aspect_ratio=0.61)
    svg = _LINE.sub(
        lambda found: f'{found[0]} style="animation-delay: {times[min(int(found[1]), len(times) - 1)]:.2f}s"', svg
    )
    rule = (
        "@media (prefers-reduced-motion: no-preference) { text[clip-path*=line] { animation: appear .01s both } }\n"
        "    @keyframes appear { from { visibility: hidden } to { visibility: visible } }\n    </style>"
    )
    return svg.replace("</style>", rule, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
