"""Automatic phases: which candidates are compared, and what fits into the time."""

import cv2
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.config.load import load_config, validate
from keras_transfer.data.statistics import DataStatistics
from keras_transfer.errors import UserError
from keras_transfer.evaluation.leaderboard import Entry, Leaderboard
from keras_transfer.policy import procedure
from keras_transfer.policy.heads import Head

SMALL = ["data.image_size=64", "output.report=false", "output.plots=false", "data.workers=1"]


def statistics(n):
    return DataStatistics(n, 0, 0, 4, {}, 1.0, 300.0, False)


def phases(n, device="cpu", **tree):
    return procedure.phases(validate(tree), statistics(n), None, device)


@pytest.fixture
def stripes(tmp_path):
    """Two classes that differ in the direction of their stripes."""
    rng = np.random.default_rng(0)
    wave = (127 + 100 * np.sin(np.arange(72) / 2)).astype(np.float32)
    for name, image in (("across", np.tile(wave, (72, 1))), ("down", np.tile(wave, (72, 1)).T)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(16):
            noisy = np.clip(image[..., None] + rng.normal(0, 40, (72, 72, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{k:02}.png"), noisy)
    return tmp_path / "photos"


def test_quick_only_solves_a_head():
    assert [(phase.name, phase.solver) for phase in phases(200, effort="quick")] == [("head", "exact")]


@pytest.mark.parametrize(("n", "folds", "rounds", "refit"), [(40, 3, 3, False), (100, 3, 1, True), (400, 5, 1, False)])
def test_fine_tuning_is_judged_by_as_many_folds_as_fit(n, folds, rounds, refit):
    _, fine = phases(n)
    assert (fine.folds, fine.rounds, fine.refit) == (folds, rounds, refit) and fine.epochs >= procedure.LEAST_EPOCHS
    seen = n * (rounds * (folds - 1) / folds + refit) * fine.epochs
    assert seen <= procedure.SECONDS["standard"] * procedure.RATE


@pytest.mark.parametrize(("accuracy", "tuned"), [(1.0, False), (0.99, False), (0.985, True), (0.5, True)])
def test_nothing_is_tuned_where_hardly_an_image_is_wrong(accuracy, tuned):
    head = Head("efficientnet_lite0", 0, 3_400_000)
    board = Leaderboard((Entry("a head", accuracy, 0.01, 0.05, 0.01, 1.0, chosen=True),), "100 images")
    chosen = procedure.ChosenHead(head, 1e-3, board)
    assert len(procedure.phases(validate({}), statistics(100), chosen, "cpu")) == 1 + tuned
    asked = validate({"phases": {-1: {"epochs": 7}}})
    assert procedure.phases(asked, statistics(100), chosen, "cpu")[1].epochs == 7


def test_more_time_is_used():
    assert len(phases(1500)) == 1
    assert phases(1500, effort="best")[1].rounds == phases(1500, device="gpu")[1].rounds == 3
    assert phases(1500, effort=20)[1] == phases(1500, effort="best")[1]


def test_many_images_are_trained_on_as_a_whole():
    assert [phase.train for phase in phases(procedure.LARGE + 1)] == ["head", "all"]


def test_a_head_for_thousands_of_classes_is_not_solved():
    many = DataStatistics(50_000, 10_000, 10_000, 10_000, {}, 1.0, 300.0, False)
    for effort in ("quick", "standard"):
        config = validate({"effort": effort})
        head, *more = procedure.phases(config, many, None, "cpu")
        assert head.solver == "gradient" and head.train == "head" and not head.augment
        assert len(more) == (effort != "quick") and not procedure.is_judged(config, many)


def test_a_named_backbone_is_the_only_candidate():
    assert procedure.backbones(validate({"model": {"backbone": "resnet18"}}), statistics(100))[0] == ["resnet18"]
    assert procedure.backbones(validate({"effort": "quick"}), statistics(100))[0] == ["efficientnet_lite0"]
    installed = procedure.backbones(validate({}), statistics(100))[0]
    assert installed[0] == "efficientnet_lite0" and len(set(installed)) == len(installed)


def test_settings_without_data_do_not_take_the_quickstart():
    with pytest.raises(UserError, match=r"settings without data.*train quickstart --set seed=1"):
        load_config(None, ["seed=1"])
    config = load_config(None, ["data.source=csv", "data.path=x.csv"])
    assert config.phases == "auto" and config.data.image_size == "auto"
    assert load_config().name == "quickstart"


@pytest.mark.backend
def test_a_folder_becomes_a_classifier_with_a_leaderboard(stripes, tmp_path):
    said = []
    settings = [*SMALL, "model.backbone=efficientnet_lite0"]
    clf = kt.fine_tune(stripes, effort="quick", output=tmp_path / "run", settings=settings, say=said.append)
    board = clf.leaderboard
    assert [entry.chosen for entry in board.entries].count(True) == 1 and len(board.entries) == 2
    assert board.evidence.startswith("out-of-fold predictions for 27 training images")
    assert any(line.startswith("plan, with effort quick") for line in said)
    assert clf.predict(stripes / "down" / "00.png").classes[0] == "down"
    data = kt.data.folder(stripes, val_fraction=0.0, image_size=64)
    assert len(data.train) == 27
    again = kt.Classifier("efficientnet_lite0", data.classes, image_size=64)
    again.fit(data, effort="quick", verbose=False)
    assert again.leaderboard.as_json()["entries"][0]["log_loss"] == pytest.approx(board.entries[0].log_loss, abs=1e-6)
    kernel, other = (model.model.layers[-1].get_weights()[0] for model in (clf, again))
    np.testing.assert_allclose(kernel, other, atol=1e-6)


def test_what_is_judged_has_every_class_its_share():
    """Also where fewer images are left out than there are classes."""
    from keras_transfer import data
    from keras_transfer.policy.heads import MAX_JUDGED, _judged

    labels = np.concatenate([np.repeat(np.arange(900), 2), np.repeat(900, 600)])
    images = np.zeros((len(labels), 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    split = data.arrays(images, labels, image_size=8, val_fraction=0, test_fraction=0, workers=0).train
    judged = _judged(split)
    assert len(judged) == MAX_JUDGED and len(split) == 2400
    counts = np.bincount(judged.labels, minlength=901)
    assert abs(counts[900] - 600 * MAX_JUDGED / 2400) <= 20 and counts[:900].min() >= 1
