"""Parts of the report that need no trained model."""

from __future__ import annotations

import base64
import fnmatch
import io

import numpy as np
import pytest
from PIL import Image

from keras_transfer import formatting, plots
from keras_transfer.errors import UserError
from keras_transfer.evaluation import classification_metrics, intervals
from keras_transfer.html import thumbnails
from keras_transfer.html.drawing import drawing
from keras_transfer.html.whiskers import whiskers
from keras_transfer.report.run_view import RunView
from keras_transfer.report.sections import SECTIONS, confusion, mistakes, result, training
from keras_transfer.runs import RunDirectory
from tests.conftest import ROOT


def view(**known) -> RunView:
    """A run of which only this is known."""
    made = RunView(RunDirectory("nowhere"))
    made.__dict__.update(known)
    return made


def measured(counts) -> RunView:
    """A run with that confusion matrix on its test images."""
    counts = np.asarray(counts)
    true, predicted = (np.repeat(np.indices(counts.shape)[k].ravel(), counts.ravel()) for k in (0, 1))
    names = [f"class {k}" for k in range(len(counts))]
    metrics = classification_metrics(np.eye(len(counts), dtype=np.float32)[predicted] * 9, true, names)
    phases = [{"name": "all", "data_wait": 0.0}]
    return view(metrics={"test": metrics, "best": {}, "phases": phases}, classes=names, history=[])


def pixels(uri: str) -> np.ndarray:
    assert len(uri) < 200_000
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_every_section_has_a_template_and_all_of_the_page_is_packaged():
    tomllib = pytest.importorskip("tomllib")
    folder = ROOT / "keras_transfer" / "report" / "page"
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for file in folder.iterdir():
        assert any(fnmatch.fnmatch(f"page/{file.name}", one) for one in globs["keras_transfer.report"])
    assert {f"{name}.html" for name in SECTIONS} <= {file.name for file in folder.iterdir()}


def test_a_small_matrix_is_a_table_of_all_counts():
    made = confusion.make(measured([[5, 1, 0], [0, 4, 0], [2, 0, 3]]))
    assert [[count for count, _ in cells] for _, cells in made["rows"]] == [[5, 1, 0], [0, 4, 0], [2, 0, 3]]
    assert [share for _, share in made["rows"][2][1]] == [0.4, 0, 0.6]
    assert (made["right"], made["total"]) == (12, 15)
    assert made["pairs"][0]["count"] == 2


@pytest.mark.parametrize("n", [confusion.NUMBERS_UP_TO + 1, 200, 1000])
def test_a_large_matrix_is_an_image_in_which_a_single_mistake_shows(n):
    counts = np.eye(n, dtype=np.int64) * 400
    counts[3, 17] = 1
    made = confusion.make(measured(counts) if n < 1000 else view(
        metrics={"test": {"confusion": counts.tolist()}}, classes=[str(k) for k in range(n)]))  # fmt: skip
    for shown in (pixels(made["light"]), pixels(made["dark"])):
        assert shown.shape == (n, n, 3)
        nothing = shown[3, 18]
        assert np.abs(shown[3, 17] - nothing).max() > 3 and np.abs(shown[3, 3] - nothing).max() > 150
        differs = (shown != nothing).any(axis=2)
        np.testing.assert_array_equal(differs, counts > 0)
    assert "rows" not in made and len(made["names"]) == (n if n <= confusion.NAMES_UP_TO else 0)


def test_a_matrix_full_of_mistakes_stays_small():
    shares = np.random.default_rng(0).integers(0, 2, (1300, 1300)) / 650  # no colours make these bits fewer
    assert pixels(confusion.cell_image(shares, confusion._DARK)).shape == (650, 650, 3)


def test_intervals_are_those_of_drawing_images():
    counts = np.array([[30, 4, 0], [2, 18, 5], [0, 1, 9]])
    true, predicted = (np.repeat(np.indices((3, 3))[k].ravel(), counts.ravel()) for k in (0, 1))
    some = np.random.default_rng(1).integers(0, len(true), (4000, len(true)))
    drawn = np.stack([(3 * true[some] + predicted[some] == cell).sum(axis=1) for cell in range(9)], axis=1)
    drawn = drawn.reshape(-1, 3, 3)
    right, support, taken = drawn[:, [0, 1, 2], [0, 1, 2]], drawn.sum(axis=2), drawn.sum(axis=1)
    scores = {"macro_f1": 2 * right / (support + taken), "balanced_accuracy": right / support}
    found = intervals.of_confusion(counts)
    for name, values in scores.items():
        np.testing.assert_allclose(found[name], np.percentile(values.mean(axis=1), [2.5, 97.5]), atol=0.01)
    assert found == intervals.of_confusion(counts)


def test_the_interval_of_a_mean():
    values = np.random.default_rng(0).exponential(size=400)
    low, high = intervals.of_mean(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert intervals.of_proportion(0.9, 400) == pytest.approx([0.87, 0.93], abs=0.01)


def test_the_verdict_without_a_mistake_has_an_interval_with_a_width():
    said = result.verdict(measured([[30, 0], [0, 30]])).replace("\u00a0", " ")
    assert said == (
        "The model classifies 100.0 % of 60 test images correctly (95 % interval: 94.0 % to 100.0 %). It made no mistakes."
    )
    once = result.verdict(measured([[30, 1], [0, 30]]))
    assert "No two classes were confused more than once." in once
    twice = result.verdict(measured([[30, 2], [0, 30]]))
    assert "“class 0” predicted as “class 1”, 2\u00a0times" in twice


def test_what_stands_out():
    poor = measured([[10, 30], [2, 38]])
    poor.__dict__["config"] = type("Config", (), {"model": type("Model", (), {"label_smoothing": 0.1})})
    poor.__dict__["history"] = [{"phase": "all", "epoch": 1, "accuracy": 0.99, "val_accuracy": 0.6}] * 2
    poor.metrics["best"] = {"phase": "all", "epoch": 1}
    poor.metrics["phases"][0]["data_wait"] = 0.5
    said = " ".join(result.remarks(poor)).replace("\u00a0", " ")
    for words_of in ("interval is wide", "weakest class is “class 0”: recall 25.0 % (of 40 images)", "overconfident",
                     "39.0 % above validation", "waited for images in “all”"):  # fmt: skip
        assert words_of in said


def test_without_test_images_validation_stands_in_and_that_is_said():
    run = measured([[30, 2], [0, 30]])
    run.metrics["val"] = run.metrics.pop("test")
    run.__dict__["config"] = type("Config", (), {"model": type("Model", (), {"label_smoothing": 0.0})})
    assert "of 62 validation images" in result.verdict(run)
    assert "slightly optimistic" in next(result.remarks(run))


@pytest.mark.parametrize("key", ["val", "out_of_fold"])
def test_out_of_fold_figures_stand_in_for_validation_and_that_is_said(key):
    run = measured([[30, 2], [0, 30]])
    run.metrics[key] = run.metrics.pop("test") | ({"of": "out-of-fold predictions"} if key == "val" else {})
    run.metrics["leaderboard"] = {"evidence": "folds", "entries": [{"candidate": "a"}, {"candidate": "b"}]}
    assert (run.split, run.kind, run.is_out_of_fold, run.chosen_by) == ("out_of_fold", "training", True, "folds")
    assert "of 62 training images" in result.verdict(run) and "trained without it" in result.verdict(run)
    assert "chose among 2 candidates" in next(result.remarks(run))


def test_validation_images_come_before_out_of_fold_and_test_images_before_both():
    run = measured([[30, 2], [0, 30]])
    figures = run.metrics["test"]
    run.metrics.update(val=figures, out_of_fold=figures)
    assert run.split == "test" and run.chosen_by == "validation"
    del run.metrics["test"]
    run.__dict__.pop("measured")
    assert run.split == "val" and not run.is_out_of_fold


def test_a_run_in_which_nothing_was_measured_is_an_error():
    with pytest.raises(UserError, match="has no figures: expected test, val or out_of_fold"):
        _ = view(metrics={"best": {}}).figures


def test_an_epoch_without_validation_is_not_called_the_best():
    run = measured([[30, 2], [0, 30]])
    run.__dict__["history"] = [{"phase": "all", "epoch": 1, "accuracy": 0.99, "val_accuracy": None}] * 2
    run.metrics["best"] = {"phase": "all", "epoch": 1}
    assert list(result._course(run)) == []


def test_error_bars_share_an_axis():
    bars = whiskers([(2.0, 0.5), (1.0, 0.25), (float("nan"), 1.0), (1.5, float("inf"))])
    left, room = 0.75, 1.75
    expected = [(2.0, 1.5, 2.5), (1.0, 0.75, 1.25), None, (1.5, 1.5, 1.5)]
    for bar, ends in zip(bars, expected):
        assert (bar is None) == (ends is None)
        if bar is not None and ends is not None:
            assert tuple(bar) == pytest.approx([100 * (end - left) / room for end in ends])
    assert whiskers([(1.0, 0.0)]) == [(50.0, 50.0, 50.0)] and whiskers([(float("nan"), 0.0)]) == [None]


def test_stages_add_up():
    phase = {"name": "all", "seconds": 10.0, "features_seconds": 2.0}
    rows = [{"phase": "all", "images_per_second": 50.0, "data_wait": 0.25, "seconds": 5.0}] * 2
    config = type("Config", (), {"phases": [type("Phase", (), {"name": "all"})]})
    run = view(config=config, history=rows, metrics={"seconds": 15.0}, manifest={"data": {"images": {"train": 200}}})
    made = training._phase(run, phase)
    assert made["times"] == {"features": 2.0, "training": 6.0, "waiting": 2.0, "validation": 2.0}
    stages = {stage["name"]: stage["seconds"] for stage in training._stages(run, [made])}
    assert stages == {"features": 2.0, "training": 6.0, "waiting": 2.0, "validation": 2.0, "rest": 3.0}
    assert sum(stage["share"] for stage in training._stages(run, [made])) == pytest.approx(1)


def test_a_drawing_follows_the_pages_colours_and_keeps_names_as_text():
    history = [
        {"phase": "<b>#0072b2", "loss": 1.0 / k, "val_loss": 1.2 / k, "accuracy": 0.5, "val_accuracy": 0.4}
        for k in (1, 2)
    ]
    svg = drawing(lambda out: plots.curves(history, out), 'a "label" & <more>', "one")
    assert svg == drawing(lambda out: plots.curves(history, out), 'a "label" & <more>', "one"), "the same every time"
    assert "&lt;b&gt;#0072b2</text>" in svg and "<b>" not in svg
    assert "var(--blue)" in svg and "var(--orange)" in svg and "#d55e00" not in svg
    assert 'aria-label="a &#34;label&#34; &amp; &lt;more&gt;"' in svg
    ids = {part.partition('"')[0] for part in svg.split(' id="')[1:]}
    assert ids and all(name.startswith("one-") for name in ids)
    used = {part.partition('"')[0] for part in svg.split('href="#')[1:]}
    assert used and used <= ids


@pytest.mark.parametrize("shape", [(8, 8, 1), (64, 64, 3), (3000, 40, 3), (1, 900, 3)])
def test_thumbnails_keep_their_shape_and_are_small(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = thumbnails.of_pixels(image)
    shown = pixels(found.uri)
    assert shown.shape[:2] == (found.height, found.width) and max(found.height, found.width) <= thumbnails.SIDE
    assert found.tiny == (max(shape) <= 48)
    if found.tiny:
        np.testing.assert_array_equal(shown, np.broadcast_to(image, (*shape[:2], 3)))


def test_a_map_lies_on_its_image():
    values = np.zeros((16, 16), np.float32)
    values[:8, :8] = 1
    shown = pixels(mistakes.with_map(np.full((16, 16, 1), 128, np.uint8), values).uri)
    assert shown.shape == (128, 128, 3)
    assert np.abs(shown[100:, 100:] - 128).max() < 8 and np.abs(shown[:40, :40] - 128).max() > 60


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0.0 %"), (0.0001, "< 0.1 %"), (0.12345, "12.3 %"), (0.9996, "> 99.9 %"), (1, "100.0 %")],
)
def test_shares_are_never_rounded_to_certainty(value, text):
    assert formatting.share(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0121, "12 ms"), (1.23, "1.2 s"), (90, "90 s"), (300, "5 min"), (9000, "2 h 30 min")]
)
def test_times(value, text):
    assert formatting.seconds(value) == text


def test_a_large_confusion_matrix_has_an_image_for_each_colour_scheme():
    from keras_transfer.html.templates import environment
    from tests.html_page import Page

    run = measured(np.eye(confusion.NUMBERS_UP_TO + 1, dtype=int))
    text = environment("keras_transfer.report").get_template("confusion.html").render(
        section=confusion.make(run), view=run
    )  # fmt: skip
    page = Page(text)
    assert len(page.all("picture")) == 1
    (source,), (image,) = page.all("source"), page.all("img")
    assert "dark" in source[0]["media"] and source[0]["srcset"] != image[0]["src"]
