"""The card at the end of a training."""

from __future__ import annotations

import io
import shlex
from types import SimpleNamespace

import pytest
from rich.console import Console

from keras_transfer.cli import build_parser
from keras_transfer.report.card import next_commands, show
from keras_transfer.report.run_view import RunView
from keras_transfer.runs import RunDirectory
from tests.report.test_sections import measured


def text_of(view: RunView, width: int = 90, **options) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False, **options), view)
    return stream.getvalue().replace("\u00a0", " ")


def run(counts, **more) -> RunView:
    view = measured(counts)
    config = SimpleNamespace(name="[red]flowers", model=SimpleNamespace(label_smoothing=0.0))
    object.__setattr__(view, "run", RunDirectory("runs/a b"))
    view.__dict__.update(config=config, leaderboard=None)
    view.metrics.update(more)
    return view


def test_the_result_has_an_honest_interval():
    text = text_of(run([[6, 0], [0, 6]]))
    assert "100.0 % right: 12 of 12 test images" in text
    assert "95 % interval 75.8 % to 100.0 %" in text
    assert "With 12 test images the interval is wide" in text
    assert "[red]flowers" in text, "a name is no markup"


def test_fine_tuning_that_did_not_help_is_said_first():
    text = text_of(run([[60, 2], [1, 70]], outcomes=[{"phase": "fine", "accepted": False}]))
    noted = text[text.index("What stood out") :]
    assert "Fine-tuning (fine) did not help" in noted.splitlines()[1]
    assert "did not help" not in text_of(run([[60, 2], [1, 70]], outcomes=[{"phase": "fine", "accepted": True}]))


def test_overfitting_is_said():
    view = run([[60, 2], [1, 70]], best={"phase": "all", "epoch": 1})
    view.__dict__["history"] = [{"phase": "all", "epoch": 1, "accuracy": 1.0, "val_accuracy": 0.6}]
    assert "overfits" in text_of(view)


def test_the_next_commands_can_be_copied():
    view = run([[6, 0], [0, 6]])
    commands = next_commands(view)
    assert len(commands) == 3
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "keras-transfer" and "runs/a b" in words
        build_parser().parse_args(words)
    lines = [line.strip() for line in text_of(view, width=40).splitlines()]
    assert set(commands) <= set(lines), "on lines of their own, without a frame"


@pytest.mark.parametrize("colours", ["truecolor", None])
def test_it_sets_no_background(colours):
    text = text_of(run([[6, 0], [0, 6]]), force_terminal=True, color_system=colours)
    assert "\x1b[4" not in text and ";4" not in text, "a background would spoil a light or a dark terminal"
