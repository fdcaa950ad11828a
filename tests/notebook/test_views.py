"""What a cell shows of data, classifier, rates, results and predictions: well-formed, escaped, small, and with the right figures in it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.evaluation.leaderboard import Entry, Leaderboard
from keras_transfer.evaluation.predict import Prediction
from keras_transfer.training.range_test import Sweep
from tests.conftest import ROOT
from tests.html_page import Page, shown_html

pytestmark = [pytest.mark.backend, pytest.mark.slow]

CLASSES = ["<script>alert(1)</script>", 'cat & "dog"', "plain"]
PHASE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.integers(0, 120, (90, 20, 30, 3)) + (y * 60)[:, None, None, None]
    made = kt.data.arrays(x.astype(np.uint8), y, 32, classes=CLASSES)
    return replace(made, samples=replace(made.samples, source="<b>made</b>"))


@pytest.fixture(scope="module")
def clf(data):
    return kt.Classifier("tiny", classes=data.classes, image_size=32, weights="none")


@pytest.fixture(scope="module")
def result(clf, data):
    phases = [kt.Phase("head", epochs=1), kt.Phase(PHASE, train="all", epochs=2, learning_rate=1e-2)]
    return clf.fit(data, phases=phases, batch_size=16, verbose=False)


@pytest.fixture(scope="module")
def figures(clf, data, result):
    return clf.evaluate(data.test)


@pytest.fixture(scope="module")
def prediction(clf, photo):
    return replace(clf.predict(photo, top=2), classes=tuple(CLASSES[:2]))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("new") / "a & b.jpg"
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def sweep():
    rates = np.geomspace(1e-6, 10, 100)
    losses = 3 - 2 / (1 + (1e-3 / rates) ** 2)
    return Sweep(PHASE, rates.tolist(), losses.tolist(), losses.tolist(), 4e-3, "the loss falls <b>fast</b>", False)


@pytest.fixture(scope="module")
def board():
    entries = (
        Entry(PHASE, 0.9, 0.02, 0.31, 0.04, 12.0, False, "<b>slow</b>"),
        Entry(CLASSES[0], 0.88, 0.02, 0.33, 0.05, 1.5, True),
    )
    return Leaderboard(entries, "out-of-fold predictions for <b>90</b> images")


@pytest.fixture(params=["data", "train", "clf", "result", "figures", "prediction", "sweep", "board"])
def shown(request, data):
    return data.train if request.param == "train" else request.getfixturevalue(request.param)


def text_of(thing) -> str:
    page = Page(re.sub("<style>.*?</style>", "", shown_html(thing), flags=re.DOTALL))
    (view,) = [text for attributes, text in page.all("div") if attributes.get("class") == "kt-view"]
    return view


def test_names_are_text_and_nothing_is_large(shown):
    html = shown_html(shown)
    page = Page(html)
    assert not page.all("script") and not page.all("b")
    for tag, attributes, _ in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, name)
    assert len(html) < 200_000


def test_a_terminal_gets_one_line(shown):
    assert re.fullmatch(
        r"(Dataset|Split|Classifier|FitResult|Evaluation|Prediction|Sweep|Leaderboard)\(.*\)", repr(shown)
    )


def test_the_style_reaches_nothing_else(shown):
    rules = " ".join(text for _, text in Page(shown_html(shown)).all("style"))
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", rules) for one in rule.split(",")]
    drawn = "*"  # matplotlib's own, inside of its image
    assert selectors and all(one.startswith(".kt-view") or one == drawn for one in selectors)


def test_data_shows_counts_sizes_and_images(data):
    page, text = Page(shown_html(data)), text_of(data)
    assert "<b>made</b>: 90 images, 3 classes" in text
    assert (
        f"{CLASSES[0]} {' '.join(str(getattr(data, split).counts()[0]) for split in ('train', 'val', 'test'))}" in text
    )
    assert f"all {len(data.train)} {len(data.val)} {len(data.test)}" in text
    assert "30 × 20 pixels" in text
    assert [attributes["alt"] for attributes, _ in page.all("img")] == [name for name in CLASSES for _ in range(4)]


def test_an_image_that_is_gone_is_said(tmp_path):
    from tests.conftest import make_photos

    photos = make_photos(tmp_path / "photos", {"apple": 9, "berry": 9})
    data = kt.data.folder(photos)
    for path in (photos / "apple").iterdir():
        path.unlink()
    assert "apple: can no longer be read" in text_of(data)
    assert shown_html(data.test)


def test_data_without_images_in_a_split(data):
    empty = data.test.take(np.array([], int))
    assert "0 images" in text_of(empty)


def test_a_classifier_shows_what_trains(clf, result):
    from keras_transfer.models.freeze import apply_train

    counts = apply_train(clf.model, "tiny", "head")
    text = text_of(clf)
    assert f"{counts.trainable:,} trainable, {counts.frozen:,} frozen" in text
    head = clf.model.get_layer("logits").count_params()
    assert re.search(rf"head \d+ {head} {head}\b", text) and re.search(r"block2 \d+ [\d,]+ 0 ", text)
    assert all(name in text for name in CLASSES)


def test_a_classifier_of_an_unknown_backbone_is_shown_without_groups(clf):
    other = copy.copy(clf)
    other.metadata = {**clf.metadata, "backbone": "<i>mine"}
    assert "<i>mine" in text_of(other) and "layer group" not in text_of(other)


def test_a_result_shows_its_best_epoch_phases_and_curves(result):
    page, text = Page(shown_html(result)), text_of(result)
    assert f"the best: epoch {result.best['epoch']} of phase {result.best['phase']}" in text
    assert text.count(PHASE) >= 3
    ((attributes, _),) = [one for one in page.all("svg") if one[0].get("class") == "plot"]
    assert attributes["aria-label"].startswith("Loss and accuracy of 3 epochs")
    (best,) = [words for attributes, words in page.all("tr") if attributes.get("class") == "best"]
    assert f"{result.best['val_loss']:.4f}" in best


def test_two_curves_in_one_notebook_share_no_names(result):
    names = [{a["id"] for _, a, _ in Page(shown_html(result)).elements if "id" in a} for _ in range(2)]
    assert names[0] and not names[0] & names[1]


def test_a_prediction_shows_its_image_and_probabilities(prediction, photo):
    page, text = Page(shown_html(prediction)), text_of(prediction)
    assert str(photo) in text
    for name, share in zip(prediction.classes, prediction.probabilities):
        assert f"{name} {100 * share:.1f} %" in text and f"{name} {share:.4f}" in repr(prediction)
    ((attributes, _),) = page.all("img")
    assert attributes["alt"] == str(photo) and (attributes["width"], attributes["height"]) == ("60", "40")


def test_a_prediction_without_a_file_shows_no_image(prediction):
    made = replace(prediction, path="0")
    assert not Page(shown_html(made)).all("img") and prediction.classes[0] in text_of(made)
    bad = Prediction(path="x.jpg", error="cannot be decoded: <i>")
    assert "x.jpg: cannot be decoded: <i>" in text_of(bad) and repr(bad) == "Prediction(x.jpg: cannot be decoded: <i>)"


def test_a_sweep_shows_its_suggestion_and_the_curve(sweep):
    page, text = Page(shown_html(sweep)), text_of(sweep)
    assert f"phase {PHASE}: learning_rate 0.004" in text and "falls <b>fast</b>" in text
    ((attributes, _),) = [one for one in page.all("svg") if one[0].get("class") == "plot"]
    assert attributes["aria-label"] == "Loss against learning rate, 100 steps"
    assert len(repr(sweep)) < 200


def test_an_evaluation_is_still_a_dictionary(figures):
    from keras_transfer.evaluation.result import Evaluation

    assert isinstance(figures, dict) and json.loads(json.dumps(figures)) == figures == dict(figures)
    assert type(pickle.loads(pickle.dumps(figures))) is Evaluation


def test_an_evaluation_shows_interval_matrix_and_classes(figures):
    from keras_transfer.formatting import range_of, share

    page, text = Page(shown_html(figures)), text_of(figures)
    assert f"{share(figures['accuracy'])} of {figures['n']} images correct".replace("\xa0", " ") in text
    assert range_of(figures["accuracy_ci95"]).replace("\xa0", " ") in text or figures["accuracy"] == 1
    cells = [int(words.split()[0]) for a, words in page.all("td") if "--share" in a.get("style", "")]
    assert np.array(cells).reshape(3, 3).tolist() == figures["confusion"]
    assert all(name in text for name in CLASSES)


def test_an_evaluation_of_many_classes_stays_small():
    from keras_transfer.evaluation.metrics import classification_metrics
    from keras_transfer.evaluation.result import Evaluation

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 500, 3000)
    logits = rng.normal(size=(3000, 500))
    logits[np.arange(3000), labels] += 3
    weights = rng.random(3000)
    many = Evaluation(classification_metrics(logits, labels, [f"<{c}>" for c in range(500)], weights))
    assert len(shown_html(many)) < 200_000
    assert "The 15 weakest of 500 classes" in text_of(many) and "weighted" in text_of(many)


def test_every_view_is_of_a_type_that_exists():
    from importlib import import_module

    from keras_transfer.notebook import VIEWS, views

    for name, view in VIEWS.items():
        module, _, type_name = name.rpartition(".")
        found = getattr(import_module(module), type_name)
        assert isinstance(found, type) and found.__module__ == module
        assert callable(getattr(views, view))


@pytest.mark.parametrize("order", ["shell first", "package first"])
def test_a_shell_learns_of_the_views_without_a_framework(order):
    shell = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance()\n"
    package = "import keras_transfer as kt\n"
    load = "shell.run_line_magic('load_ext', 'keras_transfer')\n"
    code = (
        (shell + package if order == "shell first" else package + shell + load)
        + "import sys; assert not {'keras', 'torch', 'tensorflow', 'jax', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "data = kt.data.digits(limit=20)\n"
        "html = shell.display_formatter.format(data)[0]['text/html']\n"
        "assert 'kt-view' in html and 'scikit-learn digits' in html"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_leaderboard_shows_its_candidates_and_the_chosen_one(board):
    text = text_of(board).replace("\u00a0", " ")
    assert text.startswith(f"{CLASSES[0]} is chosen from 2 candidates, by out-of-fold predictions")
    assert "0.3100 ± 0.0400 90.0 ± 2.0 % 12 s <b>slow</b>" in text
    assert "0.3300 ± 0.0500 88.0 ± 2.0 % 1.5 s ✓ chosen" in text


def test_a_classifier_that_did_not_choose_has_no_leaderboard(clf):
    assert clf.leaderboard is None
