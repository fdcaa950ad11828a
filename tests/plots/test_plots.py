from __future__ import annotations

import itertools
import math
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from keras_transfer import plots
from keras_transfer.errors import UserError
from keras_transfer.evaluation import classification_metrics
from keras_transfer.plots import history as history_module
from keras_transfer.plots.style import shorten


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def amount(path, colour):
    """How many pixels are about that colour."""
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.abs(pixels(path) - rgb).max(axis=2) < 24).sum())


def rows(phases, **override):
    made = []
    for name, epochs, rate in phases:
        for _ in range(epochs):
            e = len(made)
            row = {
                "phase": name,
                "epoch": e,
                "loss": 2 / (e + 1),
                "accuracy": 1 - 0.8 / (e + 1),
                "val_loss": 2.2 / (e + 1),
                "val_accuracy": 1 - 0.9 / (e + 1),
                "learning_rate": rate,
            }
            made.append({**row, **override})
    return made


BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def test_curves_of_several_runs_by_epoch_and_by_time(tmp_path, monkeypatch):
    from keras_transfer.plots import runs

    caught = []
    monkeypatch.setattr(runs, "save", lambda figure, path: caught.append(figure))
    slow = [{**row, "seconds": 600.0} for row in rows([("head", 2, 1.0), ("all", 3, 0.1)])]
    fast = [{**row, "seconds": 60.0} for row in rows([("all", 4, 0.1)])]
    fast[1]["val_accuracy"] = None  # an epoch without a figure
    plots.compared_curves({"slow": slow, "fast": fast}, tmp_path / "c.png")
    left, right = caught[0].axes
    assert [line.get_label() for line in left.lines] == ["slow", "fast"]
    np.testing.assert_allclose(left.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(right.lines[0].get_xdata(), [10, 20, 30, 40, 50])
    np.testing.assert_allclose(right.lines[1].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [row["val_accuracy"] for row in slow])
    assert np.isnan(right.lines[1].get_ydata()).tolist() == [False, True, False, False]
    assert right.get_xlabel() == "minutes"
    with pytest.raises(ValueError, match="at least one run"):
        plots.compared_curves({}, tmp_path / "c.png")


def artists(monkeypatch, draw):
    """The figure that a plot function saves."""
    caught = []
    for module in (history_module, plots.matrix, plots.images, plots.calibration):
        monkeypatch.setattr(module, "save", lambda figure, path: caught.append(figure))
    draw()
    return caught[0]


def texts(figure):
    FigureCanvasAgg(figure).draw()
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]


def test_curves_show_both_series_and_the_rate(tmp_path):
    plots.curves(rows([("head", 5, 1e-3), ("all", 20, 1e-4)]), tmp_path / "curves.png")
    for colour in (BLUE, ORANGE, GREEN):
        assert amount(tmp_path / "curves.png", colour) > 500
    assert (tmp_path / "curves.png").stat().st_size < 200_000
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_curves_name_the_phases_and_the_best_epoch(monkeypatch):
    figure = artists(monkeypatch, lambda: plots.curves(rows([("head", 5, 1e-3), ("all", 20, 1e-4)]), "x.png"))
    words = texts(figure)
    assert {"head", "all", "Loss", "Accuracy", "Learning rate", "epoch"} <= set(words)
    assert "validation (best 0.088, epoch 25)" in words
    assert "validation (best 96.40%, epoch 25)" in words
    assert figure.axes[2].get_yscale() == "log"
    assert figure.axes[0].lines[-1].get_xdata()[0] == 5.5  # where the second phase begins


def test_one_epoch_is_a_visible_point(tmp_path):
    plots.curves(rows([("head", 1, 1e-3)]), tmp_path / "x.png")
    plots.curves(
        rows([("head", 1, None)], loss=None, accuracy=None, val_loss=None, val_accuracy=None), tmp_path / "none.png"
    )
    for colour in (BLUE, ORANGE, GREEN):
        assert amount(tmp_path / "x.png", colour) > 40
        assert amount(tmp_path / "none.png", colour) == 0


def test_values_as_csv_text_draw_the_same_as_numbers(tmp_path):
    numbers = rows([("head", 4, 1e-3)])
    numbers[1]["val_loss"] = None
    plots.curves(numbers, tmp_path / "a.png")
    plots.curves([{k: "" if v is None else str(v) for k, v in row.items()} for row in numbers], tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_values_that_are_not_finite_are_marked_and_the_rest_is_drawn(monkeypatch):
    history = rows([("head", 6, 1e-3)])
    history[2]["loss"], history[3]["val_loss"], history[4]["loss"] = math.nan, "inf", None
    figure = artists(monkeypatch, lambda: plots.curves(history, "x.png"))
    crosses = {line.get_color(): list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "x"}
    assert crosses == {BLUE: [3], ORANGE: [4]}  # the missing one is no cross
    assert "not finite" in texts(figure)


def test_without_validation_or_rates_there_are_no_empty_axes(monkeypatch):
    history = [{"phase": "head", "loss": 1.0, "accuracy": 0.5, "learning_rate": 0}] * 3
    figure = artists(monkeypatch, lambda: plots.curves(history, "x.png"))
    assert len(figure.axes) == 2
    assert not any("validation" in word for word in texts(figure))


def test_all_values_broken_and_no_history_at_all(tmp_path, monkeypatch):
    plots.curves(rows([("head", 3, math.nan)], loss=math.nan, val_loss=math.nan), tmp_path / "x.png")
    figure = artists(monkeypatch, lambda: plots.curves([], tmp_path / "y.png"))
    assert texts(figure).count("nothing recorded") == 2


def test_a_blow_up_is_drawn_on_a_logarithmic_axis_with_labels(monkeypatch):
    history = rows([("head", 8, 3e-4)])
    history[-1]["loss"] = 1e6
    figure = artists(monkeypatch, lambda: plots.curves(history, "x.png"))
    assert figure.axes[0].get_yscale() == "log"
    assert not any("$" in word or "math" in word for word in texts(figure))
    assert "0.0003" in texts(figure)  # a constant rate between two powers of ten still has its label


def test_iterations_mark_phases_and_smooth_each_by_itself(monkeypatch):
    losses = [("head", 2.0)] * 50 + [("all", 1.0)] * 50
    figure = artists(monkeypatch, lambda: plots.iterations(losses, "x.png"))
    assert {"head", "all", "each", "smoothed"} <= set(texts(figure))
    lines = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 50]
    assert len(lines) == 4
    for line, expected in zip(lines, (2, 2, 1, 1)):
        np.testing.assert_allclose(line, expected)


def test_many_iterations_are_thinned_without_losing_a_spike(monkeypatch, tmp_path):
    values = np.full(100_000, 0.5)
    values[77_777] = 9.0
    values[5] = math.nan
    figure = artists(monkeypatch, lambda: plots.iterations([("all", v) for v in values], "x.png"))
    raw = np.concatenate([np.asarray(line.get_ydata()) for line in figure.axes[0].lines])
    assert len(raw) < 6000
    assert np.nanmax(raw) == 9.0
    monkeypatch.undo()
    plots.iterations(zip(["all"] * 5000, values), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 200_000


@pytest.mark.parametrize(
    "losses", [[], [("head", 1.0)], [("head", math.nan)], [("a", 1.0), ("b", math.inf), ("c", 0.0)]]
)
def test_few_or_broken_iterations_draw(tmp_path, losses):
    plots.iterations(losses, tmp_path / "x.png")
    drawn = amount(tmp_path / "x.png", BLUE)
    assert (drawn > 40) == any(math.isfinite(v) for _, v in losses)


def test_running_mean_starts_at_the_first_value_and_passes_over_gaps():
    smooth = history_module._smooth(np.array([math.nan, 4.0, math.nan, 4.0, 4.0]), 5)
    np.testing.assert_allclose(smooth, [np.nan, 4, np.nan, 4, 4])
    values = np.array([1.0, 2.0, 3.0])
    keep = 2 / 3  # 1 - 2 / (5 + 1)
    weights = (1 - keep) * keep ** np.arange(2, -1, -1)
    assert history_module._smooth(values, 5)[-1] == pytest.approx((weights * values).sum() / weights.sum())


def names_above(figure, names):
    """The boxes of the phases' names, and those of all else that is written."""
    found, _ = boxes(figure)
    ours = {text: box for (text, _), box in found.items() if text in names}
    return ours, [box for (text, _), box in found.items() if text not in names]


MANY = [
    ("warm up the head", 2, 1e-3),
    ("last 3 groups of the backbone", 3, 1e-4),
    ("blocks", 2, 1e-4),
    ("all", 40, 1e-5),
]


@pytest.mark.parametrize("phases", [MANY, MANY[::-1], [(f"phase {k}", 1, 1e-3) for k in range(9)]])
def test_names_of_phases_never_overlap(monkeypatch, phases):
    figure = artists(monkeypatch, lambda: plots.curves(rows(phases), "x.png"))
    ours, others = names_above(figure, {name for name, _, _ in phases})
    assert len(ours) == len({name for name, _, _ in phases})
    for a, b in itertools.combinations([*ours.values(), *(b for b in others if b.width > 1)], 2):
        if a in ours.values():
            assert not a.overlaps(b)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in ours.values())


def test_a_name_stands_at_the_beginning_of_its_phase(monkeypatch):
    figure = artists(monkeypatch, lambda: plots.curves(rows(MANY), "x.png"))
    ours, _ = names_above(figure, {name for name, _, _ in MANY})
    begins = [figure.axes[0].transData.transform((x, 0))[0] for x in (0.5, 2.5, 5.5, 7.5)]
    np.testing.assert_allclose([ours[name].x0 for name, _, _ in MANY], begins, atol=8)


def test_too_many_phases_become_numbers(monkeypatch):
    phases = [(f"a rather long name {k}", 1, 1e-3) for k in range(30)]
    figure = artists(monkeypatch, lambda: plots.curves(rows(phases), "x.png"))
    words = texts(figure)
    assert {"1", "17", "30"} <= set(words)
    assert not any("long name" in word for word in words)


def matrix(n, each=40, seed=0):
    rng = np.random.default_rng(seed)
    made = np.diag(np.full(n, each))
    for i in range(n):
        made[i, (i + 1) % n] += int(rng.integers(1, 6))
    return made


@pytest.mark.parametrize("n", [2, 3, 20, 100])
def test_confusion_at_many_sizes(tmp_path, n):
    plots.confusion(matrix(n), [f"class {i}" for i in range(n)], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size < 200_000
    assert amount(tmp_path / "confusion.png", "#003a63") > 200


def boxes(figure):
    """Text and place of everything written, and the figure's own rectangle."""
    FigureCanvasAgg(figure).draw()
    found = [t for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text().strip()]
    return {(t.get_text(), k): t.get_window_extent() for k, t in enumerate(found)}, figure.bbox


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("name", ["{}", "a long class name of many letters {}"])
def test_nothing_in_a_confusion_matrix_is_cut_off(monkeypatch, n, name):
    figure = artists(monkeypatch, lambda: plots.confusion(matrix(n), [name.format(i) for i in range(n)], "x.png"))
    found, whole = boxes(figure)
    for key, box in found.items():
        assert box.x0 >= 0, key
        assert box.y0 >= 0, key
        assert box.x1 <= whole.x1, key
        assert box.y1 <= whole.y1, key


def test_class_names_of_many_classes_do_not_run_into_each_other(monkeypatch):
    names = [f"bird species {i}" for i in range(200)]
    figure = artists(monkeypatch, lambda: plots.confusion(matrix(200), names, "x.png"))
    found, _ = boxes(figure)
    labels = [t for t in figure.axes[0].get_yticklabels() if t.get_text()]
    assert len(labels) == 200
    heights = [t.get_fontsize() * figure.dpi / 72 for t in labels]
    centres = sorted((b.y0 + b.y1) / 2 for b in (t.get_window_extent() for t in labels))
    assert np.diff(centres).min() >= 0.95 * max(heights)
    assert "Most confused" in {text for text, _ in found}


def test_small_matrices_have_numbers_and_large_ones_the_list(monkeypatch):
    figure = artists(monkeypatch, lambda: plots.confusion([[1500, 1], [0, 0.25]], ["a", "b"], "x.png"))
    assert {"1500", "1", "0.25"} <= set(texts(figure))
    assert "1,500.2 of 1,501.2 correct (99.93%)" in texts(figure)
    monkeypatch.undo()
    big = np.diag(np.full(30, 7))
    big[3, 9] = 5
    figure = artists(monkeypatch, lambda: plots.confusion(big, [f"k{i}" for i in range(30)], "x.png"))
    assert "k3 → k9" in texts(figure)
    assert "5 samples, 42% of the class" in texts(figure)
    assert "7" not in texts(figure)


def test_a_thousand_classes_and_a_perfect_one(tmp_path, monkeypatch):
    plots.confusion(matrix(1000), [f"n{i:08}" for i in range(1000)], tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 200_000
    figure = artists(
        monkeypatch, lambda: plots.confusion(np.eye(30), list(map(str, range(30))), "x.png", title="all right")
    )
    assert "Most confused" not in texts(figure)
    assert "all right" in texts(figure)


def test_empty_rows_and_an_empty_matrix_draw(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion([[0, 0], [1, 3]], ["a", "b"], tmp_path / "x.png")
        plots.confusion(np.zeros((2, 2)), ["a", "b"], tmp_path / "y.png")
    assert amount(tmp_path / "y.png", "#dcdcdc") > 5000


@pytest.mark.parametrize(("shape", "names"), [((2, 2), ["a"]), ((2, 3), ["a", "b"]), ((0, 0), [])])
def test_a_matrix_that_does_not_fit_is_refused(tmp_path, shape, names):
    with pytest.raises(ValueError, match="confusion matrix"):
        plots.confusion(np.ones(shape), names, tmp_path / "x.png")


def test_formulas_in_names_are_only_names(tmp_path):
    names = ["$\\frac$", "a_b^c", "100 $", "{x}", "%d", "line\nbreak\ttab", ""]
    plots.confusion(matrix(7), names, tmp_path / "x.png")
    plots.curves(rows([("$\\bad{", 2, 1e-3)]), tmp_path / "y.png")
    plots.prediction_grid([np.zeros((4, 4), np.uint8)], ["$\\bad{"], tmp_path / "z.png", title="$x^$")
    assert len(list(tmp_path.iterdir())) == 3


def photos(n):
    rng = np.random.default_rng(0)
    return [np.clip(np.cumsum(rng.normal(0, 9, (90, 120, 3)), axis=1) + 128, 0, 255).astype(np.uint8) for _ in range(n)]


@pytest.mark.parametrize("n", [1, 12, 36])
def test_prediction_grid_stays_small(tmp_path, n):
    plots.prediction_grid(photos(n), [f"a very long class name {i}\n97.3%" for i in range(n)], tmp_path / "g.png")
    assert (tmp_path / "g.png").stat().st_size < 1_000_000


def test_photographs_keep_all_their_colours(tmp_path):
    sky = np.linspace(0, 255, 128 * 128 * 3).reshape(128, 128, 3).astype(np.uint8)
    plots.prediction_grid([sky, sky.transpose(1, 0, 2)], ["a", "b"], tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as drawn:
        assert drawn.mode == "RGB", "a palette of 256 colours shows bands"


def test_prediction_grid_takes_every_kind_of_image_and_keeps_its_colours(tmp_path):
    red = np.zeros((40, 80, 3), np.uint8)
    red[..., 0] = 255
    clear = np.zeros((10, 10, 4), np.uint8)
    kinds = [red, np.full((8, 8), 128, np.uint8), np.full((300, 20, 1), 128, np.uint8), clear]
    plots.prediction_grid(kinds, ["red", "grey", "tall", "clear"], tmp_path / "g.png", right=[True, False, True, True])
    assert amount(tmp_path / "g.png", "#ff0000") > 8000
    assert amount(tmp_path / "g.png", "#808080") > 10000
    assert amount(tmp_path / "g.png", GREEN) > 500
    assert amount(tmp_path / "g.png", ORANGE) > 300


@pytest.mark.parametrize(("images", "titles", "right"), [(0, [], None), (1, [], None), (2, ["a", "b"], [True])])
def test_prediction_grid_refuses_what_does_not_match(tmp_path, images, titles, right):
    with pytest.raises(ValueError, match="image"):
        plots.prediction_grid([np.zeros((4, 4), np.uint8)] * images, titles, tmp_path / "g.png", right=right)


def test_reliability_diagram(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    logits = rng.normal(0, 2, (500, 3))
    logits[np.arange(500), labels] += 2
    m = classification_metrics(logits, labels, ["a", "b", "c"])
    plots.reliability(m, tmp_path / "r.png")
    assert amount(tmp_path / "r.png", ORANGE) > 100
    figure = artists(monkeypatch, lambda: plots.reliability(m, "x.png"))
    heights = sorted(p.get_height() for p in figure.axes[0].patches if p.get_facecolor()[3] > 0)
    assert heights == sorted(a for a in m["calibration"]["accuracy"] if a is not None)


def test_files_that_cannot_be_written_are_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        plots.curves(rows([("head", 1, 1e-3)]), tmp_path / "file" / "curves.png")


def test_the_users_matplotlib_settings_neither_matter_nor_change(tmp_path):
    plots.curves(rows([("head", 3, 1e-3)]), tmp_path / "a.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "text.usetex": True}):
        plots.curves(rows([("head", 3, 1e-3)]), tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_pyplot_is_not_imported():
    import subprocess

    code = "import sys, keras_transfer.plots; print('matplotlib.pyplot' in sys.modules, 'keras' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_shorten_keeps_both_ends():
    assert shorten("short", 10) == "short"
    assert shorten("Egretta garzetta nigripes", 11) == "Egret…ripes"
    assert len(shorten("x" * 50, 8)) == 8
    assert shorten("two\nlines\tand  space", 40) == "two lines and space"


def test_the_suggested_rate_is_inside_the_picture_even_where_the_loss_has_risen(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from keras_transfer.plots import rates

    values = np.geomspace(1e-6, 1e-4, 20)
    losses = np.concatenate([np.full(10, 0.1), np.linspace(0.1, 4, 10)])
    one = SimpleNamespace(phase="all", rates=values, losses=losses, smoothed=losses, suggestion=5e-5)
    drawn = []
    monkeypatch.setattr(rates, "save", lambda made, path: drawn.append(made))
    rates.rate_sweeps([one], tmp_path / "x.png")
    (axis,) = drawn[0].axes
    at = np.interp(np.log(5e-5), np.log(values), losses)
    assert axis.get_xlim()[0] < 5e-5 < axis.get_xlim()[1] and axis.get_ylim()[0] < at < axis.get_ylim()[1]
