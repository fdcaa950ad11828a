"""A whole run on a small folder: files, honesty of the figures, resume to the bit."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transfer.config.load import validate
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training.run import resume_run, train
from tests.conftest import make_photos

pytestmark = pytest.mark.backend

PHASES = [
    {"name": "head", "epochs": 2, "learning_rate": 0.01, "schedule": "plateau"},
    {
        "name": "all",
        "epochs": 2,
        "learning_rate": 0.003,
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "weight_decay": 0.01,
    },
]


def settings(photos, output, **more):
    tree = {
        "name": "small",
        "data": {"path": str(photos), "image_size": 32, "batch_size": 16, "augment": ["horizontal_flip"], "workers": 2},
        "model": {"backbone": "tiny", "weights": "none", "label_smoothing": 0.0},
        "phases": PHASES,
        "output": {"dir": str(output), "save_every": 0},
    }
    return validate({**tree, **more})


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, RunDirectory]:
    """Pictures, and a run over them that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    photos = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    return photos, train(settings(photos, folder / "run"), say=lambda _: None)


class StopAt(keras.callbacks.Callback):
    """Interrupt in the middle of an epoch, counted over all phases."""

    def __init__(self, epochs):
        super().__init__()
        self.left = epochs

    def on_train_batch_end(self, batch, logs=None):
        if self.left == 0 and batch == 1:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.left -= 1


def test_a_run_leaves_exactly_its_files_and_says_what_happened(photos, tmp_path):
    lines = []
    run = train(settings(photos, tmp_path / "run"), say=lines.append)
    found = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert found == {
        "config.yaml", "history.csv", "manifest.json", "metrics.json", "model.keras", "splits.json",
        "plots/curves.png", "plots/iterations.png", "plots/confusion.png",
    }  # fmt: skip
    rows = list(csv.DictReader(run.history.open()))
    assert [(row["phase"], row["epoch"]) for row in rows] == [("head", "1"), ("head", "2"), ("all", "1"), ("all", "2")]
    metrics = json.loads(run.metrics.read_text())
    assert set(metrics) == {"val", "test", "best", "phases", "seconds"}
    assert metrics["test"]["n"] == 9
    assert [phase["name"] for phase in metrics["phases"]] == ["head", "all"]
    frozen = [phase["frozen_parameters"] for phase in metrics["phases"]]
    assert frozen[0] > frozen[1]
    manifest = json.loads(run.manifest.read_text())
    assert manifest["backend"]["name"] == keras.backend.backend()
    assert manifest["data"]["images"] == {"train": 42, "val": 9, "test": 9}
    text = "\n".join(lines)
    assert "phase head" in text and "phase all" in text and "test accuracy" in text
    assert "auto" not in [line.partition(": ")[2] for line in run.config.read_text().splitlines()]
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 1, 2]


def test_the_kept_model_is_the_best_by_validation(whole):
    run = whole[1]
    history, metrics = run.read_history(), run.read_json(run.metrics)
    best = min(history, key=lambda row: row["val_loss"])
    assert (metrics["best"]["phase"], metrics["best"]["epoch"]) == (best["phase"], best["epoch"])
    assert metrics["val"]["loss"] == pytest.approx(best["val_loss"], rel=1e-3, abs=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(photos, tmp_path):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = train(settings(photos, tmp_path / name, seed=seed, phases=PHASES[:1]), say=lambda _: None)
        weights.append(keras.models.load_model(run.model).get_weights())
    assert all(np.array_equal(x, y) for x, y in zip(weights[0], weights[1]))
    assert not all(np.array_equal(x, y) for x, y in zip(weights[0], weights[2]))


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])  # in the first epoch, inside and between phases, in the last epoch
def test_an_interrupted_run_resumes_to_the_same_bits(whole, tmp_path, epochs):
    photos, whole = whole
    with pytest.raises(Interrupted) as stop:
        train(settings(photos, tmp_path / "cut"), callbacks=[StopAt(epochs)], say=lambda _: None)
    assert stop.value.run == str(tmp_path / "cut")
    resumed = resume_run(tmp_path / "cut")
    train(resumed.read_config(), resume=resumed, say=lambda _: None)
    for a, b in zip(read_weights(whole), read_weights(resumed)):
        np.testing.assert_array_equal(a, b)
    figures = ("phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    assert [[row[f] for f in figures] for row in whole.read_history()] == [
        [row[f] for f in figures] for row in resumed.read_history()
    ]
    assert not resumed.state.exists()
    with pytest.raises(UserError, match="is finished"):
        resume_run(tmp_path / "cut")


def test_a_phase_on_cached_views_resumes_to_the_same_bits(photos, tmp_path):
    phases = [{"name": "head", "epochs": 5, "learning_rate": 0.01, "schedule": "cosine"}, PHASES[1]]
    tree = settings(photos, tmp_path).model_dump(exclude_unset=True)
    tree["data"]["views"] = 3

    class KerasStop(StopAt):
        """Like a callback of Keras's own, it leaves frozen layers to be computed once."""

    KerasStop.__module__ = "keras.callbacks"
    said = []
    whole = train(settings(photos, tmp_path / "whole", data=tree["data"], phases=phases), say=said.append)
    assert sum("view" in line and "images/s" in line for line in said) == 3
    with pytest.raises(Interrupted):
        config = settings(photos, tmp_path / "cut", data=tree["data"], phases=phases)
        train(config, callbacks=[KerasStop(3)], say=lambda _: None)
    resumed, said = resume_run(tmp_path / "cut"), []
    train(resumed.read_config(), resume=resumed, say=said.append)
    assert sum("found in" in line for line in said) == 4
    for a, b in zip(read_weights(whole), read_weights(resumed)):
        np.testing.assert_array_equal(a, b)


def read_weights(run: RunDirectory) -> list[np.ndarray]:
    return keras.models.load_model(run.model).get_weights()


def test_resuming_on_other_data_is_refused(photos, tmp_path):
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "cut"), callbacks=[StopAt(1)], say=lambda _: None)
    next((photos / "apple").glob("*.png")).unlink()
    run = resume_run(tmp_path / "cut")
    with pytest.raises(UserError, match="changed since"):
        train(run.read_config(), resume=run, say=lambda _: None)


def test_an_output_folder_that_exists_is_left_alone(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not empty"):
        train(settings(photos, tmp_path / "run"), say=lambda _: None)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_a_loss_that_is_not_a_number_stops_with_advice(photos, tmp_path):
    phases = [{"name": "all", "epochs": 2, "learning_rate": 3e38, "optimizer": "sgd"}]
    with pytest.raises(UserError, match="lower the phase's learning_rate"):
        train(settings(photos, tmp_path / "run", phases=phases), say=lambda _: None)


def test_the_model_loads_in_plain_keras_and_carries_its_metadata(whole):
    run = whole[1]
    model = keras.models.load_model(run.model)
    assert model.output_shape == (None, 3)
    with zipfile.ZipFile(run.model) as archive:
        metadata = json.loads(archive.read("keras_transfer/metadata.json"))
    assert metadata["classes"] == ["apple", "berry", "cherry"]


def test_sample_weights_reach_the_loss(tmp_path, photos):
    lines = ["path,label,weight"]
    for path in sorted(photos.rglob("*.png")):
        lines.append(f"{path.relative_to(photos)},{path.parent.name},{0 if path.parent.name == 'apple' else 1}")
    table = photos / "table.csv"
    table.write_text("\n".join(lines))
    data = {"source": "csv", "path": str(table), "image_size": 32, "batch_size": 16, "augment": [], "workers": 1}
    phases = [{"name": "all", "epochs": 6, "learning_rate": 0.01, "schedule": "constant"}]
    run = train(settings(photos, tmp_path / "run", data=data, phases=phases), say=lambda _: None)
    metrics = run.read_json(run.metrics)
    # A class without weight is never learnt: its recall stays 0 and only the unweighted figure knows.
    assert metrics["test"]["per_class"]["apple"]["recall"] == 0.0
    assert metrics["test"]["weighted"]["accuracy"] > metrics["test"]["accuracy"]
