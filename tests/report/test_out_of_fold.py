"""The page and the commands of runs without validation images, whose model was chosen by cross-validation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from keras_transfer.cli import main
from keras_transfer.evaluation import classification_metrics
from keras_transfer.report.sections import SECTIONS
from keras_transfer.runs import RunDirectory
from tests.conftest import make_photos
from tests.html_page import Page
from tests.report import folded

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    from keras_transfer.training.train import train
    from tests.training.small import PHASES, settings

    folder = tmp_path_factory.mktemp("folded")
    photos = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    return train(settings(photos, folder / "run", phases=[{**PHASES[1], "epochs": 1}]), say=lambda _: None)


@pytest.fixture(scope="module")
def with_test(run, tmp_path_factory) -> RunDirectory:
    made = folded.fold(run, tmp_path_factory.mktemp("with_test") / "run")
    assert main(["report", str(made.path)]) == 0
    return made


@pytest.fixture(scope="module")
def without_test(run, tmp_path_factory) -> RunDirectory:
    made = folded.fold(run, tmp_path_factory.mktemp("without_test") / "run", test=False)
    assert main(["report", str(made.path)]) == 0
    return made


def page_of(run: RunDirectory) -> Page:
    return Page(run.report.read_text(encoding="utf-8"))


def test_figures_that_are_out_of_fold_say_so_everywhere(without_test):
    page = page_of(without_test)
    tags = [text for attributes, text in page.all("span") if attributes.get("class") == "tag"]
    assert tags == ["training images, out of fold"] * 6
    assert "of 60 training images correctly" in page.all("p")[0][1].replace("\u00a0", " ")
    assert "Each was predicted by a model that was trained without it" in page.all("p")[0][1]
    assert "neither validation nor test images" in page.section("result") and "4 candidates" in page.section("result")
    assert "best epoch" not in page.section("training") and "Validation loss" not in page.section("training")
    assert "60 training images, from" in page.section("data")
    assert [text for _, text in page.all("th") if text in ("Training", "Validation", "Test")] == ["Training"]
    words = page.all("body")[0][1].replace("neither validation nor test", "").replace("validation evaluating", "")
    assert "validation images" not in words and "test images" not in words


def test_the_predictions_are_those_of_the_run(without_test):
    page, (logits, labels) = page_of(without_test), without_test.read_out_of_fold()
    wrong = logits.argmax(axis=1) != labels
    assert f"{wrong.sum()} of 60 training images are misclassified" in page.section("mistakes")
    worst = (-np.log(np.exp(logits)[np.arange(60), labels] / np.exp(logits).sum(axis=1)) * wrong).argmax()
    name = ("apple", "berry", "cherry")[labels[worst]]
    assert page.section("mistakes").split("image. ")[1].startswith(name)
    assert "(training, out of fold)" in page.section("labels")


def test_test_images_come_first(with_test):
    page = page_of(with_test)
    assert not [1 for attributes, _ in page.all("span") if attributes.get("class") == "tag"]
    assert "with the model chosen by out-of-fold predictions for 51 training images, 5 folds" in page.section("result")
    assert "of 9 test images" in page.all("p")[0][1].replace("\u00a0", " ")
    assert "(test and training, out of fold)" in page.section("labels")
    assert "51 training, 9 test images" in page.section("data")


def test_the_leaderboard_lists_every_candidate(with_test):
    page = page_of(with_test)
    text = page.section("leaderboard").replace("\u00a0", " ")
    assert "4 candidates by out-of-fold predictions for 51 training images, 5 folds" in text
    for entry in folded.ENTRIES:
        assert entry.candidate in text and entry.reason in text and f"{100 * entry.accuracy:.1f} ± " in text
    assert text.count("✓ chosen: the cheapest within one standard error") == 1
    assert "0.2401 ± 0.0312" in text and not page.all("b")
    assert [title for attributes, title in page.all("a") if attributes["href"] == "#leaderboard"] == ["Leaderboard"]


def test_what_the_temperature_did(without_test):
    logits, labels = without_test.read_out_of_fold()
    before = classification_metrics(logits * folded.TEMPERATURE, labels, ["apple", "berry", "cherry"])
    text = page_of(without_test).section("calibration").replace("\u00a0", " ")
    assert "divides the logits by 1.4, which lowers the confidence" in text
    assert f"the calibration error would be {100 * before['ece']:.1f} % instead of" in text
    assert f"the loss {before['loss']:.4f} instead of" in text


def test_without_stored_predictions_the_figures_stay(without_test, tmp_path):
    shutil.copytree(without_test.path, tmp_path / "run")
    copy = RunDirectory(tmp_path / "run")
    copy.out_of_fold.unlink()
    assert main(["report", str(copy.path)]) == 0
    bare, page = page_of(copy), page_of(without_test)
    assert {a["id"] for a, _ in bare.all("section")} == set(SECTIONS) - {
        "mistakes",
        "confidence",
        "labels",
        "several",
        "novelty",
    }
    assert bare.section("confusion") == page.section("confusion")
    assert "divides the logits by 1.4" in bare.section("calibration")


def test_predictions_for_other_images_are_left_out(without_test, tmp_path):
    shutil.copytree(without_test.path, tmp_path / "run")
    copy = RunDirectory(tmp_path / "run")
    logits, labels = without_test.read_out_of_fold()
    copy.write_out_of_fold(logits, labels[::-1])
    assert main(["report", str(copy.path)]) == 0
    assert "mistakes" not in {a["id"] for a, _ in page_of(copy).all("section")}


def test_commands_that_want_validation_images_say_where_the_figures_are(with_test, capsys, tmp_path):
    for words in (["evaluate"], ["explain", "gradcam"]):
        output = ["--output", str(tmp_path / "x.png")] if words[0] == "explain" else []
        assert main([*words, str(with_test.path), "--split", "val", *output]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and "has no validation images" in line and "metrics.json" in line
        assert line.endswith("(it has images for: train, test)")


def test_a_missing_split_names_the_others(without_test, capsys):
    assert main(["evaluate", str(without_test.path)]) == 2
    assert capsys.readouterr().err == "error: there are no test images in this data (it has images for: train)\n"


def test_without_epochs_and_phases_there_is_a_page(without_test, tmp_path):
    shutil.copytree(without_test.path, tmp_path / "run")
    copy = RunDirectory(tmp_path / "run")
    copy.history.unlink()
    copy.write_json(copy.metrics, copy.read_json(copy.metrics) | {"best": {}, "phases": []})
    assert main(["report", str(copy.path)]) == 0
    training = page_of(copy).section("training")
    assert "Time" in training and "Phases" not in training and "every epoch" not in training
