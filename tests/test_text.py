"""Names of others reach no terminal raw, and no console ends a run."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from keras_transfer import text
from keras_transfer.data.samples import ArrayStore, make_samples
from keras_transfer.errors import UserError
from keras_transfer.evaluation.predict import Prediction
from keras_transfer.formatting import printable

FORGED = [
    "\x1b]0;pwned\x07\x1b[2J",
    "\x1b]52;c;cHduZWQ=\x07b",
    "c\nfake.jpg: c 1.000",
    "a\u202egpj",
    "d\x9b2Je",
    "f\u2028g",
    "h\rI",
]
CONTROLS = "\x1b\x07\x9b\r\u202e\u2028"


@pytest.mark.parametrize("name", FORGED)
def test_names_are_escaped(name):
    shown = text.one_line(name)
    assert not set(shown) & set(CONTROLS + "\n") and "\\" in shown
    assert not set(printable(name)) & set(CONTROLS)
    assert not set(str(UserError(name))) & set(CONTROLS)
    assert not set(repr(Prediction(name, (name, "b"), (0.6, 0.4)))) & set(CONTROLS + "\n")


@pytest.mark.parametrize("name", ["Łódź", "犬", "a b", "👩‍👧", "می‌خواهم", "x\u00a0y"])
def test_letters_of_every_script_stay(name):
    assert text.one_line(name) == name


def test_a_summary_has_a_line_for_each_class():
    samples = make_samples(FORGED, ArrayStore(np.zeros((7, 2, 2, 3), np.uint8)), range(7), ["train"] * 7, source="x\ny")
    from keras_transfer.data.dataset import Dataset

    lines = Dataset(samples).summary().split("\n")
    assert len(lines) == 2 + len(FORGED) + 2
    assert not set("".join(lines)) & set(CONTROLS)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_a_console_that_lacks_letters_gets_escapes(monkeypatch, encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, errors="strict", newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    text.say("Łódź 犬 \x1b[2J")
    stream.flush()
    assert raw.getvalue().decode(encoding).startswith("Łódź 犬 \\x1b" if encoding == "utf-8" else "\\u0141")
    monkeypatch.setattr(sys, "stdout", None)  # a window without console
    text.say("nothing")


def test_a_command_does_not_fail_on_its_console(command, tmp_path):
    (tmp_path / "Łódź").mkdir()
    done = command("train", "--data", tmp_path / "Łódź", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.returncode == 2, done.stderr
    assert "error: no images" in done.stderr and done.stderr.isascii() and "Traceback" not in done.stderr
