"""Runs beside each other, as an image and as a table."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from keras_transfer import plots
from keras_transfer.compare.rows import notes
from keras_transfer.compare.table import comparison_table
from keras_transfer.plots import runs as module
from keras_transfer.plots.runs import duration


def row(name="resnet18", accuracy=0.85, seconds=600.0, **more):
    return {
        "name": name, "state": "finished", "backbone": "resnet18", "backend": "tensorflow", "device": "gpu", "epochs": 45,
        "test_accuracy": accuracy, "test_low": accuracy - 0.01, "test_high": accuracy + 0.01, "test_n": 5000,
        "val_accuracy": accuracy, "val_low": accuracy - 0.02, "val_high": accuracy + 0.02, "val_n": 5000,
        "seconds": seconds, "parameters": 11_181_642, "trainable_parameters": 5130, "file_bytes": 45_000_000,
        "phases": [{"name": "head", "images_per_second": 20_585.2}, {"name": "all", "images_per_second": 3.5}],
        "data": "abc", "hardware": {"processor": "x", "cores": 2}, **more,
    }  # fmt: skip


def figure_of(monkeypatch, rows):
    drawn = []
    monkeypatch.setattr(module, "save", lambda made, _: drawn.append(made))
    plots.comparison(rows, "x.png")
    return drawn[0]


def text_of(rows, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(comparison_table(rows))
    return console.file.getvalue()


def test_points_bars_and_names_are_the_figures(monkeypatch):
    left, right = figure_of(monkeypatch, [row("a", 0.8, 600), row("b", 0.9, 3000)]).axes
    np.testing.assert_allclose(left.lines[0].get_xdata(), [0.8, 0.9])
    spans = [segment[:, 0].tolist() for segment in left.collections[0].get_segments()]
    np.testing.assert_allclose(spans, [[0.79, 0.81], [0.89, 0.91]])
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], [10, 50])
    assert "minutes" in right.get_title("left") and "Test" in left.get_title("left")
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first is on top"


def test_validation_stands_in_for_a_missing_test_set(monkeypatch):
    untested = {key: value for key, value in row("b", 0.7).items() if not key.startswith("test_")}
    left, _ = figure_of(monkeypatch, [row(), untested]).axes
    assert "Validation" in left.get_title("left")
    np.testing.assert_allclose(left.lines[0].get_xdata(), [0.85, 0.7])
    assert "–" in text_of([untested])


@pytest.mark.parametrize("count", [1, 2, 30])
def test_any_number_of_runs_draws(tmp_path, count):
    rows = [
        row(f"{'a_rather_long_name_of_a_recipe_' * (i % 3)}{i}", 0.5 + i / 100, 10.0**i % 9999) for i in range(count)
    ]
    plots.comparison(rows, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.width > 800 and drawn.height > 150 + 40 * count


def test_runs_that_are_all_alike_and_perfect_draw(tmp_path):
    perfect = row(accuracy=1.0, test_low=1.0, test_high=1.0, seconds=0.0)
    plots.comparison([perfect, perfect], tmp_path / "c.png")
    with pytest.raises(ValueError, match="at least one"):
        plots.comparison([], tmp_path / "c.png")


def test_the_table_fits_into_80_columns_and_is_no_markup():
    text = text_of([row("[red]" + "x" * 60), {"name": "b", "state": "not begun"}])
    assert max(map(len, text.splitlines())) <= 80
    for part in ("[red]", "85.00%", "84.0% – 86.0%", "10 min 00 s", "45", "20,585", "3.5", "11.2 M", "5,130", "45.00 MB",
                 "not begun"):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599.7, "1 h 00 min"), (7620, "2 h 07 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_notes_name_what_does_not_compare():
    rows = [row("a"), row("b", data="other"), row("c"), {"name": "d", "state": "failed"}]
    (note,) = notes(rows)
    assert "accuracies are not comparable (different images, labels or splits): a, c; b" in note
    (note,) = notes([row("a"), row("b", hardware={"processor": "y", "cores": 2})])
    assert "times are not comparable (different machines): a; b" in note
    assert notes([row("a"), row("b")]) == []
