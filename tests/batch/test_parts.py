"""Predictions, features and logits in parts of Parquet: what is in them, and how a killed job goes on. Ray has a file of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as parquet

import keras_transfer as kt
from keras_transfer.batch import embed_parts, evaluate_parts, predict_parts
from keras_transfer.batch.job import Job, Part, begin
from keras_transfer.cli import main
from keras_transfer.errors import UserError
from tests.conftest import make_photos

pytestmark = pytest.mark.backend

CLASSES = {"apple": 30, "berry": 30, "cherry": 30}


def quiet(line: object = "") -> None:
    pass


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(model file, folder of images of which one cannot be read)."""
    folder = tmp_path_factory.mktemp("batch")
    photos = make_photos(folder / "photos", CLASSES)
    clf = kt.Classifier("tiny", classes=list(CLASSES), weights="none", image_size=32)
    clf.save(folder / "model.keras")
    (photos / "berry" / "bad.png").write_bytes(b"no image")
    return folder / "model.keras", photos


def rows_of(folder):
    return [row for file in sorted(folder.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]


def bytes_of(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def predicted(model, tmp_path_factory):
    """The folder of a finished job; read-only for tests."""
    folder = tmp_path_factory.mktemp("predicted") / "out"
    assert predict_parts(model[0], [str(model[1])], folder, top=2, rows=32, engine="native", say=quiet) == 91
    return folder


def test_rows_are_those_of_predict_in_its_order(model, predicted, tmp_path):
    found = kt.load(model[0]).predict(str(model[1]), top=2)
    rows = rows_of(predicted)
    assert [row["path"] for row in rows] == [one.path for one in found]
    assert [row["classes"] for row in rows] == [list(one.classes) for one in found]
    assert sum(row["error"] is not None for row in rows) == 1
    for row, one in zip(rows, found):
        assert row["probabilities"] == pytest.approx(list(one.probabilities), rel=1e-4)
        assert row["class"] == (one.classes[0] if one.classes else None)


def test_a_job_goes_on_with_what_is_missing_and_ends_in_the_same_bytes(model, predicted, tmp_path, monkeypatch):
    from keras_transfer.batch import worker

    done, predict = [], worker._predict
    monkeypatch.setitem(worker._KINDS, "predict", lambda self, part: (done.append(part.start), predict(self, part))[1])
    folder = tmp_path / "out"
    arguments = {"top": 2, "rows": 32, "engine": "native", "say": quiet}
    predict_parts(model[0], [str(model[1])], folder, **arguments)
    (folder / "part-000000032.parquet").unlink()
    (folder / ".part-000000032.parquet.1234.part").write_bytes(b"half")
    predict_parts(model[0], [str(model[1])], folder, **arguments)
    assert done == [0, 32, 64, 32]
    assert bytes_of(folder) == bytes_of(predicted)
    assert not list(folder.glob(".*"))
    with pytest.raises(UserError, match="begun with other settings; give the same command, or another folder"):
        predict_parts(model[0], [str(model[1])], folder, top=1, rows=32, engine="native", say=quiet)


def test_features_are_those_of_embed(model, tmp_path):
    embed_parts(model[0], [str(model[1])], tmp_path / "out", rows=32, say=quiet)
    rows = rows_of(tmp_path / "out")
    expected = kt.load(model[0]).embed([row["path"] for row in rows if row["error"] is None])
    found = np.array([row["features"] for row in rows if row["error"] is None], np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_metrics_are_those_of_evaluate(model, tmp_path, capsys):
    from keras_transfer.inference import evaluate

    data = make_photos(tmp_path / "data", dict.fromkeys(CLASSES, 12))
    expected = evaluate(model[0], data=str(data), engine="native")
    found = evaluate_parts(model[0], tmp_path / "out", data=str(data), rows=32, engine="native", say=quiet)
    flipped = evaluate(model[0], data=str(data), engine="native", flips=True)
    in_parts = evaluate_parts(model[0], tmp_path / "flips", data=str(data), engine="native", flips=True, say=quiet)
    assert in_parts["log_loss"] == pytest.approx(flipped["log_loss"], rel=1e-5)
    assert in_parts["log_loss"] != found["log_loss"]
    assert found["confusion"] == expected["confusion"]
    assert found["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-5)
    rows = rows_of(tmp_path / "out")
    assert [row["label"] for row in rows] == [row["path"].split("/")[-2] for row in rows]
    assert np.mean([row["label"] == row["class"] for row in rows]) == pytest.approx(expected["accuracy"])


def test_commands(model, tmp_path, capsys):
    path, photos = map(str, model)
    assert main(["predict", path, photos, "--parquet", str(tmp_path / "p"), "--engine", "native"]) == 0
    assert "91 images in 1 parts, 1 of them cannot be read" in capsys.readouterr().out
    assert main(["embed", path, photos, "--parquet", str(tmp_path / "e")]) == 0
    data = str(make_photos(tmp_path / "data", dict.fromkeys(CLASSES, 4)))
    words = ["evaluate", path, "--data", data, "--parquet", str(tmp_path / "v"), "--json", str(tmp_path / "v.json")]
    assert main(words) == 0
    assert json.loads((tmp_path / "v.json").read_text())["n"] == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ray", "local"], "--ray needs --parquet DIR"),
        (["--parquet", "{file}"], "is a file; name a folder"),
        (["--parquet", "{full}"], "is not empty, and not that of such a job"),
        (["--parquet", "{new}", "--output", "x.png"], "leave it out, or --parquet"),
        (["--parquet", "{new}", "--flips"], "leave it out, or --parquet"),
    ],
)
def test_mistakes_are_one_line(words, message, model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    places = {name: tmp_path / name for name in ("file", "full", "new")}
    assert main(["predict", str(model[0]), str(model[1]), *(word.format(**places) for word in words)]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert not (tmp_path / "new").exists()


def test_parts_cover_every_image_once(tmp_path):
    job = Job("predict", "m", "i", 100, 32, {})
    assert [(part.start, part.stop) for part in job.parts] == [(0, 32), (32, 64), (64, 96), (96, 100)]
    assert sorted(part.name for part in job.parts) == [part.name for part in job.parts]
    assert begin(tmp_path / "new", job) == job.parts
    (tmp_path / "new" / Part(32, 64).name).write_bytes(b"")
    assert [part.start for part in begin(tmp_path / "new", job)] == [0, 64, 96]
    with pytest.raises(UserError, match="other images"):
        begin(tmp_path / "new", Job("predict", "m", "j", 100, 32, {}))
