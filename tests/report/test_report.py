"""``report.html`` of a small run whose names are hostile: what is in it, and that it needs nothing else."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer.cli import main
from keras_transfer.report.sections import SECTIONS
from keras_transfer.runs import RunDirectory
from tests.conftest import make_photos
from tests.html_page import Page

pytestmark = [pytest.mark.backend, pytest.mark.slow]

CLASSES = ["<script>alert(1)</script>", '猫 & "cat\'s"', "x" * 60]
FILE = "<img src=x onerror=alert(%s)>.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    """Three classes with names that are markup, another script, and long; trained in two phases."""
    from keras_transfer.config.load import validate
    from keras_transfer.training.train import train

    folder = tmp_path_factory.mktemp("hostile")
    photos = make_photos(folder / "photos", {"a": 20, "b": 20, "c": 20})
    for path in list((photos / "a").iterdir()):
        path.rename(photos / "a" / (FILE % path.stem))
    rows = [
        (path.relative_to(photos), CLASSES["abc".index(path.parent.name)]) for path in sorted(photos.rglob("*.png"))
    ]
    rows[3] = rows[3][0], CLASSES[2]  # wrong labels, for something to be found
    with (photos / "table.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("path", "label", "weight"), *((*row, 1 + k % 2) for k, row in enumerate(rows))])
    tree = {
        "name": "hostile",
        "data": {"source": "csv", "path": str(photos / "table.csv"), "image_size": 32, "batch_size": 16, "workers": 1,
                 "augment": ["horizontal_flip", {"name": "rotation", "degrees": 20}, "mixup"]},
        "model": {"backbone": "tiny", "weights": "none"},
        "phases": [{"name": "head", "epochs": 2}, {"name": "<b>all", "train": "all", "epochs": 3, "learning_rate": 0.01}],
        "output": {"dir": str(folder / "run")},
    }  # fmt: skip
    return train(validate(tree), say=lambda _: None)


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page(run.report.read_text(encoding="utf-8"))


def test_names_are_text_and_never_markup(run, page):
    assert len(page.all("script")) == 1 and "alert" not in page.all("script")[0][1]
    assert not page.all("b")
    for tag, attributes, _ in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    text = page.all("body")[0][1]
    assert all(name in text for name in (*CLASSES, "<b>all"))
    files = {path.name for path in (run.path.parent / "photos" / "a").iterdir()}
    shown = {a["alt"].removeprefix("a/") for a, _ in page.all("img")}
    assert files & shown and any(name in text for name in files)
    policy = next(a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_it_needs_no_other_file_and_no_network(page):
    for tag, attributes, _ in page.elements:
        for name in ("src", "srcset", "href", "xlink:href", "data", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name][:80])
    assert not page.all("iframe") and not page.all("object")
    style = page.all("style")
    assert len(style) >= 1 and not re.search(r"@import|url\((?!#)", " ".join(text for _, text in style))


def test_a_screen_reader_finds_its_way(page):
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is left out"
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {a["href"][1:] for a, _ in page.all("a")} | {a["aria-labelledby"] for a, _ in page.all("section")}
    assert wanted <= set(ids) and {"main", *SECTIONS} - {"leaderboard", "several", "novelty"} <= wanted | {"main"}
    assert page.elements[[tag for tag, _, _ in page.elements].index("body") + 1][1]["href"] == "#main"  # the skip link
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert page.all("html")[0][0]["lang"] == "en"
    assert all(a["alt"] for a, _ in page.all("img"))
    assert all(a["aria-label"] for a, _ in page.all("svg") if "role" in a) and len(page.all("svg")) == 2
    assert all(a.get("scope") in ("col", "row") for a, _ in page.all("th"))


def test_images_are_images_and_small(run, page):
    assert run.report.stat().st_size < 5_000_000
    uris = [a["src"] for a, _ in page.all("img")]
    assert len(uris) > 12
    for uri in uris:
        kind, _, data = uri.partition(";base64,")
        assert len(data) < 200_000
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert kind == f"data:image/{image.format.lower()}"
            image.load()


def test_the_figures_are_those_of_the_run(run, page):
    metrics = json.loads(run.metrics.read_text())
    test = metrics["test"]
    accuracy = f"{100 * test['accuracy']:.1f}\u00a0%"
    text = page.all("header")[0][1].replace(" %", "\u00a0%")
    assert f"classifies {accuracy} of {test['n']} test images correctly" in text
    assert f"{test['loss']:.4f}" in page.section("result")
    low, high = test["accuracy_ci95"]
    if test["accuracy"] < 1:
        assert f"{100 * low:.1f} % to {100 * high:.1f} %" in page.section("result").replace("\u00a0", " ")
    assert f"{test['weighted']['loss']:.4f}" in page.section("result"), "figures by weight have a column of their own"
    training = page.section("training")
    for phase in metrics["phases"]:
        assert phase["name"] in training
        assert f"{phase['trainable_parameters']:,} {phase['frozen_parameters']:,}" in training
    for stage in ("features", "waiting for data", "validation", "other"):
        assert stage in training
    data = page.section("data")
    assert "42 training, 9 validation, 9 test images" in data and "40 × 40 pixels" in data
    repeat = page.section("repeat")
    assert run.config.read_text(encoding="utf-8").split()[1] in repeat
    assert f"train {run.path}/config.yaml" in repeat and "keras==" in repeat
    manifest = run.read_json(run.manifest)
    assert manifest["started"][:10] in page.all("header")[0][1]


def test_every_mistake_has_its_probabilities_and_its_map(run, page):
    test = json.loads(run.metrics.read_text())["test"]
    wrong = test["n"] - sum(test["confusion"][k][k] for k in range(3))
    maps = [a["alt"] for a, _ in page.all("img") if a["alt"].startswith("Grad-CAM")]
    assert len(maps) == min(wrong, 12)
    if wrong:
        assert f"{wrong} of {test['n']} test images are misclassified" in page.section("mistakes")


def test_what_augmentation_shows_is_what_training_saw(run):
    from keras_transfer.config.open_data import open_data
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.report.run_view import Evidence, RunView
    from keras_transfer.report.sections import data as section
    from keras_transfer.training import build

    config = run.read_resolved()
    data = open_data(config)
    samples = section._samples(RunView(run), Evidence(data, None, {}))
    assert [len(sample["views"]) for sample in samples] == [section.EPOCHS] * 3
    # Without mixing, a view is the very image of that epoch.
    plain = config.data.model_copy(update={"augment": config.data.augment[:2]})
    view = RunView(run)
    view.__dict__["config"] = config.model_copy(update={"data": plain})
    first = section._samples(view, Evidence(data, None, {}))[0]
    batches = build.make_batches(view.config.data, data, config.seed)
    loader: Loader = batches[0].loader
    place = next(i for i in range(len(data.train)) if data.train.image_name(i) == first["name"])
    (batch,) = [k for k in range(len(loader)) if place in loader.positions(1, k)]
    seen = loader.batch(1, batch)[0][loader.positions(1, batch).tolist().index(place)]
    for one in batches:
        one.loader.close()
    with Image.open(io.BytesIO(base64.b64decode(first["views"][1].uri.partition(",")[2]))) as shown:
        np.testing.assert_array_equal(np.asarray(shown), seen)


def test_automatic_choices_are_read_as_text(run):
    from keras_transfer.report.run_view import RunView
    from keras_transfer.report.sections import repeat

    view = RunView(run)
    stored = [
        {"key": "data.batch_size", "value": 16, "reason": "a small set"},
        "data.color = rgb (as version 0.1 wrote it)",
    ]
    view.__dict__["manifest"] = {**view.manifest, "chosen": stored}
    assert repeat.make(view)["chosen"] == ["data.batch_size = 16 (a small set)", stored[1]]


def test_the_command_writes_the_same_every_time_and_nothing_else(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    pages = []
    for _ in range(2):
        (copy / "report.html").unlink()
        assert main(["report", str(copy)]) == 0
        pages.append((copy / "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"report: {copy / 'report.html'} (")
    after = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    assert {**after, "report.html": b""} == {**before, "report.html": b""}


def test_without_its_images_the_figures_stay(run, page, tmp_path, capsys):
    shutil.copytree(run.path, tmp_path / "run")
    copy = RunDirectory(tmp_path / "run")
    config = copy.config.read_text(encoding="utf-8")
    copy.config.write_text(re.sub(r"path: .*", f"path: {tmp_path / 'gone.csv'}", config), encoding="utf-8")
    assert main(["report", str(copy.path)]) == 0
    assert "without images" in capsys.readouterr().out
    bare = Page(copy.report.read_text(encoding="utf-8"))
    assert "Without images: " in bare.all("header")[0][1] and not bare.all("img")
    assert {a["id"] for a, _ in bare.all("section")} == set(SECTIONS) - {
        "mistakes",
        "confidence",
        "labels",
        "leaderboard",
        "several",  # labels
        "novelty",
    }
    assert bare.all("h1") == page.all("h1") and bare.section("confusion") == page.section("confusion")


def test_a_run_that_did_not_finish_has_no_report(run, tmp_path, capsys):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "report.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "did not finish" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_report_that_fails_is_a_warning_and_the_run_is_finished(photos, tmp_path, monkeypatch):
    from keras_transfer.report import write
    from keras_transfer.training.train import train
    from tests.training.small import PHASES, settings

    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(write, "render", fail)
    config = settings(photos, tmp_path / "run", report=True, phases=[{**PHASES[0], "epochs": 1}])
    with pytest.warns(UserWarning, match=r"there is no report \(RuntimeError: no font\).*keras-transfer report"):
        run = train(config, say=lambda _: None)
    assert run.is_finished() and not run.report.exists() and not run.state.exists()


def test_in_a_browser_it_sorts_follows_the_colours_and_fits(run, browser):
    browser.get_log("browser")
    browser.get(run.report.as_uri())
    first = "return [...document.querySelectorAll('#classes tbody th')].map((cell) => cell.textContent)"
    before = browser.execute_script(first)
    button = browser.find_element("css selector", "#classes thead th:nth-child(2) button")
    per_class = json.loads(run.metrics.read_text())["test"]["per_class"]
    for reverse in (False, True):
        button.send_keys("\n")  # a keyboard is enough
        order = browser.execute_script(first)
        assert order == sorted(before, key=lambda name: per_class[name]["f1"] * (-1 if reverse else 1))
    paper = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        paper[scheme] = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}
    browser.set_window_size(500, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0, "nothing sticks out"
    assert browser.get_log("browser") == [], "nothing was refused, by its own policy neither"
