"""k-fold cross-validation of a training: every image is predicted once, by a model without it, and one final model is left."""

from __future__ import annotations

import csv
import json
import statistics

import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.config.load import load_config
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError
from keras_transfer.inference import data_of
from keras_transfer.runs import RunDirectory
from keras_transfer.training.crossvalidation import CrossValidated, cross_validate
from tests.conftest import make_photos

TINY = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false", "output.plots=false",
        "phases=[{name: head, solver: exact}]", "data.val_fraction=0"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def made(root) -> CrossValidated:
    make_photos(root / "photos", {"apple": 12, "berry": 9})
    return kt.cross_validate(root / "photos", folds=3, output=root / "run", settings=TINY, say=lambda line: None)


@pytest.fixture(scope="module")
def rows(made) -> list[dict[str, str]]:
    with made.predictions.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_image_is_predicted_once_by_a_model_without_it(made, rows):
    assert len(rows) == len({row["path"] for row in rows}) == 21
    for number in (1, 2, 3):
        data = data_of(RunDirectory(made.run.path / "folds" / str(number)))
        assert isinstance(data, Dataset) and not len(data.val)
        held = {row["path"] for row in rows if row["fold"] == str(number)}
        assert held == {data.test.image_name(i) for i in range(len(data.test))}
        assert len(data.train) == 21 - len(held)
        np.testing.assert_array_equal(data.test.counts(), [4, 3])


def test_the_figures_are_those_of_the_predictions(made, rows):
    right = {number: [row["label"] == row["predicted"] for row in rows if row["fold"] == number] for number in "123"}
    accuracies = [statistics.fmean(hits) for hits in right.values()]
    assert [fold["accuracy"] for fold in made.folds] == pytest.approx(accuracies)
    assert made.mean["accuracy"] == pytest.approx(statistics.fmean(accuracies))
    assert made.spread["accuracy"] == pytest.approx(statistics.stdev(accuracies))
    assert made.together["n"] == 21
    shares = np.array([[float(row[f"probability {name}"]) for name in ("apple", "berry")] for row in rows])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    stored = json.loads((made.run.path / "folds" / "cross_validation.json").read_text())
    assert stored["mean"]["accuracy"] == made.mean["accuracy"] and len(stored["folds"]) == 3
    assert made.run.read_json(made.run.metrics)["cross_validation"]["spread"] == made.spread
    assert "3 folds, mean ± standard deviation: accuracy" in str(made)


def test_the_final_model_has_all_images(made):
    data = data_of(made.run)
    assert data is not None and len(data.train) == 21 and not len(data.test)
    assert kt.load(made.run.path).predict(data.train.read(0)).classes


def test_a_finished_run_is_not_overwritten(root, made):
    with pytest.raises(UserError, match="exists and is not empty"):
        kt.cross_validate(root / "photos", folds=3, output=root / "run", settings=TINY, say=lambda line: None)


def test_it_goes_on_where_it_was_stopped(root, made, monkeypatch):
    from keras_transfer.training import crossvalidation

    config = load_config(data=str(root / "photos"), output=str(root / "stopped"), overrides=TINY)
    trained: list[str] = []

    def stopping(config, **options):
        if len(trained) == 1:
            trained.append("stopped")
            raise KeyboardInterrupt
        trained.append(config.output.dir)
        return train(config, **options)

    train = crossvalidation.train
    monkeypatch.setattr(crossvalidation, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(config, folds=3, say=lambda line: None)
    lines: list[str] = []
    found = cross_validate(config, folds=3, say=lines.append)
    assert any("going on with the folds" in line for line in lines)
    assert len(trained) == 5  # the first fold is not trained again
    assert found.mean == made.mean
    other = config.model_copy(update={"seed": 1})
    (root / "half" / "folds").mkdir(parents=True)
    plan = json.loads((root / "stopped" / "folds" / "plan.json").read_text())
    (root / "half" / "folds" / "plan.json").write_text(json.dumps(plan))
    other = other.model_copy(update={"output": other.output.model_copy(update={"dir": str(root / "half")})})
    with pytest.raises(UserError, match="folds of other settings or data"):
        cross_validate(other, folds=3, say=lambda line: None)


def plan_of(config, folds: int = 2) -> tuple[Dataset, np.ndarray]:
    from keras_transfer.training.crossvalidation import _planned, _pool

    data = _pool(config)
    work = RunDirectory.create(config.output.dir, "x").path / "folds"
    return data, _planned(config, data, folds, work, lambda line: None)


def test_groups_and_copies_are_in_one_fold(tmp_path):
    pictures = make_photos(tmp_path / "photos", {"a": 10, "b": 10})
    lines = ["path,label,group"]
    for name in ("a", "b"):
        for k in range(10):
            lines.append(f"photos/{name}/{k:03d}.png,{name},{name}{k // 2 if k < 4 else k}")
        with Image.open(pictures / name / "009.png") as image:
            image.save(pictures / name / "copy.png", optimize=True)
        lines.append(f"photos/{name}/copy.png,{name},")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    config = load_config(data=str(tmp_path / "data.csv"), output=str(tmp_path / "run"), overrides=TINY)
    data, numbers = plan_of(config)
    place = dict(zip(data.samples.names(), numbers.tolist()))
    for name in ("a", "b"):
        assert place[f"photos/{name}/000.png"] == place[f"photos/{name}/001.png"]
        assert place[f"photos/{name}/002.png"] == place[f"photos/{name}/003.png"]
    assert sorted(set(numbers)) == [0, 1]


def test_images_that_the_data_hold_for_testing_are_in_no_fold(tmp_path):
    make_photos(tmp_path / "photos" / "train", {"a": 6, "b": 6})
    make_photos(tmp_path / "photos" / "test", {"a": 3, "b": 3}, seed=1)
    config = load_config(data=str(tmp_path / "photos"), output=str(tmp_path / "run"), overrides=TINY)
    found = cross_validate(config, folds=2, say=lambda line: None)
    assert found.together["n"] == 12
    data = data_of(found.run)
    assert data is not None and len(data.test) == 6 and len(data.train) == 12
    assert found.run.read_json(found.run.metrics)["test"]["n"] == 6


def test_several_labels(tmp_path):
    make_photos(tmp_path / "photos", {"a": 8, "b": 8})
    names = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "photos").rglob("*.png"))
    labels = ["red;dots", "dots", "red", ""]
    lines = [f"{name},{labels[k % 4]}" for k, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("path,labels\n" + "\n".join(lines))
    config = load_config(data=str(tmp_path / "labels.csv"), output=str(tmp_path / "run"), overrides=TINY)
    found = cross_validate(config, folds=2, say=lambda line: None)
    assert "mean_average_precision" in found.mean
    header = found.predictions.read_text().splitlines()[0]
    assert header == "path,labels,predicted,fold,probability dots,probability red"


@pytest.mark.parametrize(("folds", "message"), [(0, "at least 2"), (1, "at least 2"), (-1, "folds"), ("x", "folds")])
def test_a_number_of_folds_that_there_cannot_be(root, folds, message):
    config = load_config(data=str(root / "photos"), output=str(root / "none"), overrides=TINY)
    with pytest.raises(UserError, match=message):
        cross_validate(config, folds=folds, say=lambda line: None)
    assert not (root / "none").exists()


def test_the_command_refuses_to_resume(capsys):
    from keras_transfer.cli.app import main

    assert main(["train", "--folds", "5", "--resume", "--output", "x"]) == 2
    assert "same command" in capsys.readouterr().err


def test_splits_of_another_run(root, made):
    file = made.run.path / "folds" / "2.json"
    config = load_config(data=str(root / "photos"), overrides=[*TINY, f"data.splits={file}"])
    from keras_transfer.config.open_data import open_data

    assert open_data(config).split_table() == json.loads(file.read_text())
    for text in ("[1]", "{", '{"a": 1}'):
        (root / "bad.json").write_text(text)
        bad = load_config(data=str(root / "photos"), overrides=[*TINY, f"data.splits={root / 'bad.json'}"])
        with pytest.raises(UserError, match=r"data\.splits"):
            open_data(bad)
