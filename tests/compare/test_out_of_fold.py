"""Runs without validation images in a comparison."""

from __future__ import annotations

import pytest
from rich.console import Console

from keras_transfer.compare.rows import FIELDS, notes, read_row
from keras_transfer.compare.table import comparison_table
from keras_transfer.plots import runs
from keras_transfer.runs import RunDirectory
from tests.report.folded import fold

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.mark.exhaustive
def test_their_figures_are_marked(compared, tmp_path):
    folder, _ = compared
    own = RunDirectory.open(folder / "out" / "one")
    made = fold(own, tmp_path / "run")
    rows = [read_row("plain", own), read_row("folded", made)]
    assert "val_of" in FIELDS and "val_of" not in rows[0]
    assert rows[1]["val_of"] == "out-of-fold predictions for the training images"
    assert notes(rows)[-1] == "val stands for out-of-fold predictions for the training images in: folded"
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(comparison_table(rows))
    assert console.export_text().count(" folds ") == 1
    assert [runs._title(some, "val") for some in (rows[:1], rows[1:], rows)] == [
        "Validation", "Out-of-fold", "Validation or out-of-fold"]  # fmt: skip
    assert runs._title(rows, "test") == "Test"


def test_a_run_without_phases_has_a_row(compared, tmp_path):
    folder, _ = compared
    made = fold(RunDirectory.open(folder / "out" / "one"), tmp_path / "run")
    made.write_json(made.metrics, made.read_json(made.metrics) | {"phases": []})
    row = read_row("solved", made)
    assert (row["epochs"], row["parameters"], row["images_per_second"]) == (0, None, None)
    Console(file=(tmp_path / "out").open("w")).print(comparison_table([row]))
