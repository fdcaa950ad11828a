"""The terminal: nothing that it lacks ends a command, and bars are for terminals only."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from keras_transfer import console
from tests.conftest import ROOT


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "ascii:strict"])
def test_every_letter_can_be_printed(encoding):
    program = (
        "from keras_transfer import text; from keras_transfer.console import terminal\n"
        "import sys; text.never_fail()\n"
        "print('Æble 猫 ✓ “x” \\ud800'); terminal(sys.stdout).print('猫 – 5\\u00a0%')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if encoding.startswith("ascii"):
        assert done.stdout.decode("ascii").splitlines() == [
            '\\xc6ble \\u732b * "x" \\ud800',
            "\\u732b - 5 %",
        ]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("forced", [True, False])
def test_bars_are_drawn_on_a_terminal_and_not_in_a_file(monkeypatch, forced):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    for stream, drawn in ((Screen(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with console.progress("features of [red] images", 3) as advance:
            advance(2)
        with console.working("exporting"):
            pass
        assert ("features of [red] images" in stream.getvalue()) is drawn
        assert ("exporting" in stream.getvalue()) is drawn


def test_no_color_is_obeyed(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    screen = Screen()
    console.terminal(screen).print("[red]x[/] [bold]y[/]")
    assert "\x1b[31m" not in screen.getvalue()
