"""A whole run on a small folder: files, honesty of the figures."""

from __future__ import annotations

import csv
import json
import zipfile
from datetime import datetime, timedelta, timezone

import keras
import numpy as np
import pytest

from keras_transfer.classifier import load
from keras_transfer.config.open_data import open_data
from keras_transfer.errors import UserError
from keras_transfer.training.train import train
from tests.training.small import PHASES, every_epoch, settings

pytestmark = pytest.mark.backend


def test_a_run_leaves_exactly_its_files_and_says_what_happened(photos, tmp_path):
    lines = []
    run = train(settings(photos, tmp_path / "run", report=True), say=lines.append)
    found = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert found == {
        "config.yaml", "history.csv", "manifest.json", "metrics.json", "model.keras", "pictures.npz", "report.html", "splits.json",
        "plots/curves.png", "plots/iterations.png", "plots/confusion.png",
    }  # fmt: skip
    rows = list(csv.DictReader(run.history.open()))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("head", "1"), ("head", "2"), ("all", "1"), ("all", "2")]
    metrics = json.loads(run.metrics.read_text())
    assert set(metrics) == {"val", "test", "best", "phases", "outcomes", "seconds"}
    assert metrics["outcomes"] == []  # nothing was solved
    assert metrics["test"]["n"] == 9
    assert [phase["name"] for phase in metrics["phases"]] == ["head", "all"]
    frozen = [phase["frozen_parameters"] for phase in metrics["phases"]]
    assert frozen[0] > frozen[1]
    assert all(phase["features_seconds"] >= 0 for phase in metrics["phases"])
    manifest = json.loads(run.manifest.read_text())
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(manifest["started"])) < timedelta(hours=1)
    assert manifest["backend"]["name"] == keras.backend.backend()
    assert manifest["data"]["images"] == {"train": 42, "val": 9, "test": 9}
    text = "\n".join(lines)
    assert "groups: stem 16×16×8, block1 8×8×16, block2 4×4×32" in text
    assert "phase head" in text and "phase all" in text and "test accuracy" in text
    assert "auto" not in [line.partition(": ")[2] for line in run.config.read_text().splitlines()]
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 1, 2]


@pytest.mark.slow
def test_the_final_figures_are_those_of_the_file_in_float32(photos, tmp_path):
    run = train(settings(photos, tmp_path / "run", precision="bfloat16"), say=lambda _: None)
    metrics = run.read_json(run.metrics)
    found = load(run.model).evaluate(open_data(run.read_config()).val)
    assert found["loss"] == pytest.approx(metrics["val"]["loss"], rel=1e-5)
    assert found["accuracy"] == metrics["val"]["accuracy"]
    best = min(row["val_loss"] for row in run.read_history())
    assert abs(metrics["val"]["loss"] - best) > 1e-5 * best  # training did compute in bfloat16


def test_the_kept_model_is_the_best_by_validation(whole):
    run = whole[1]
    history, metrics = run.read_history(), run.read_json(run.metrics)
    best = min(history, key=lambda row: row["val_loss"])
    assert (metrics["best"]["phase"], metrics["best"]["epoch"]) == (best["phase"], best["epoch"])
    # The file computes in float32; what training computes in depends on the machine.
    exact = run.read_json(run.manifest)["precision"]["name"] == "float32"
    assert metrics["val"]["loss"] == pytest.approx(best["val_loss"], rel=1e-3 if exact else 2e-2, abs=1e-5)


@pytest.mark.slow
def test_the_model_of_every_epoch_is_kept_where_asked_for(photos, tmp_path):
    run = train(every_epoch(settings(photos, tmp_path / "run")), say=lambda _: None)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "phase1_epoch001.keras", "phase1_epoch002.keras", "phase2_epoch001.keras", "phase2_epoch002.keras",
    ]  # fmt: skip
    best = run.read_json(run.metrics)["best"]
    phase = 1 + [phase["name"] for phase in PHASES].index(best["phase"])
    kept = [keras.models.load_model(path) for path in (run.checkpoint(phase, best["epoch"]), run.model)]
    assert all(np.array_equal(x, y) for x, y in zip(*(model.get_weights() for model in kept)))
    others = keras.models.load_model(run.checkpoint(3 - phase, best["epoch"])).get_weights()
    assert not all(np.array_equal(x, y) for x, y in zip(others, kept[1].get_weights()))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(photos, tmp_path):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = train(settings(photos, tmp_path / name, seed=seed, phases=PHASES[:1]), say=lambda _: None)
        weights.append(keras.models.load_model(run.model).get_weights())
    assert all(np.array_equal(x, y) for x, y in zip(weights[0], weights[1]))
    assert not all(np.array_equal(x, y) for x, y in zip(weights[0], weights[2]))


def test_an_output_folder_that_exists_is_left_alone(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not empty"):
        train(settings(photos, tmp_path / "run"), say=lambda _: None)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_the_model_loads_in_plain_keras_and_carries_its_metadata(whole):
    run = whole[1]
    model = keras.models.load_model(run.model)
    assert model.output_shape == (None, 3)
    with zipfile.ZipFile(run.model) as archive:
        metadata = json.loads(archive.read("keras_transfer/metadata.json"))
    assert metadata["classes"] == ["apple", "berry", "cherry"]


@pytest.mark.slow
def test_sample_weights_reach_the_loss(tmp_path, photos):
    """Two in five labels are wrong, and weigh nothing: without weights no loss could come below 0.67, their entropy."""
    lines = ["path,label,weight"]
    wrong = {"apple": "berry", "berry": "cherry", "cherry": "apple"}
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        name, bad = path.parent.name, number % 5 < 2
        lines.append(f"{path.relative_to(photos)},{wrong[name] if bad else name},{0 if bad else 1}")
    table = photos / "table.csv"
    table.write_text("\n".join(lines))
    data = {"source": "csv", "path": str(table), "image_size": 32, "batch_size": 16, "augment": [], "workers": 1}
    phases = [{"name": "all", "epochs": 6, "learning_rate": 0.01, "schedule": "constant"}]
    run = train(settings(photos, tmp_path / "run", data=data, phases=phases), say=lambda _: None)
    metrics = run.read_json(run.metrics)
    assert min(row["loss"] for row in run.read_history()) < 0.3
    assert metrics["val"]["weighted"]["loss"] < 0.3 < metrics["val"]["loss"]
    assert metrics["test"]["weighted"]["accuracy"] > metrics["test"]["accuracy"]
