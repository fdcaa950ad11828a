"""Training and comparing: metrics, files, a second call, failures."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from keras_transfer.cli import main
from keras_transfer.compare import command as compare_run
from keras_transfer.compare import compare, rows
from keras_transfer.compare.plan import RunRequest
from keras_transfer.config import load_config
from keras_transfer.errors import Interrupted
from keras_transfer.files import write_json
from keras_transfer.runs import RunDirectory
from keras_transfer.training.train import train
from tests.compare.conftest import write_config
from tests.conftest import make_photos

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture
def nothing_trains(monkeypatch):
    monkeypatch.setattr(compare_run, "_call", lambda *_: pytest.fail("something was trained"))


def test_rows_match_the_runs(compared, backend):
    folder, report = compared
    assert [row["name"] for row in report["runs"]] == ["one", "two"] and report["notes"] == []
    for row, epochs in zip(report["runs"], (2, 3)):
        run = RunDirectory.open(folder / "out" / row["name"])
        metrics = run.read_json(run.metrics)
        assert row["state"] == "finished" and row["backend"] == backend and row["epochs"] == epochs
        assert row["test_accuracy"] == metrics["test"]["accuracy"] and row["val_accuracy"] == metrics["val"]["accuracy"]
        assert [row["test_low"], row["test_high"]] == metrics["test"]["accuracy_ci95"]
        assert row["seconds"] == metrics["seconds"] > row["epoch_seconds"] > 0
        assert row["images_per_second"] == metrics["phases"][-1]["images_per_second"]
        assert row["parameters"] > row["trainable_parameters"] > 0
        assert row["file_bytes"] == run.model.stat().st_size
        assert run.read_config().seed == 3


def test_parameters_match_the_model(compared):
    import keras

    folder, report = compared
    model = keras.models.load_model(folder / "out" / "one" / "model.keras")
    assert report["runs"][0]["parameters"] == model.count_params()


def test_files_match_the_report(compared):
    folder, report = compared
    assert json.loads((folder / "out" / "compare.json").read_text())["runs"] == report["runs"]
    with (folder / "out" / "compare.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert tuple(table[0]) == rows.FIELDS and [row["name"] for row in table] == ["one", "two"]
    assert float(table[1]["test_accuracy"]) == report["runs"][1]["test_accuracy"]
    for name in ("compare.png", "curves.png"):
        with Image.open(folder / "out" / name) as drawn:
            assert len(np.unique(np.asarray(drawn.convert("L")))) > 20


@pytest.mark.usefixtures("nothing_trains")
def test_finished_runs_are_not_trained_again(compared, tmp_path, capsys):
    folder, report = compared
    shutil.copytree(folder / "out", tmp_path / "out")
    sources = [str(folder / f"{name}.yaml") for name in ("one", "two")]
    assert main(["compare", *sources, "--set", "seed=3", "--output", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == f"compare: {tmp_path / 'out'}"
    for row in report["runs"]:
        assert f"{row['test_accuracy']:.2%}" in text and row["name"] in text
    assert max(map(len, text.splitlines()[:-1])) <= 80


@pytest.mark.usefixtures("nothing_trains")
def test_given_runs_need_no_configuration(compared, tmp_path, capsys):
    folder, report = compared
    runs = [str(folder / "out" / name) for name in ("two", "one")]
    found = compare(runs, output=tmp_path / "out")
    assert [row["test_accuracy"] for row in found["runs"]] == [row["test_accuracy"] for row in report["runs"][::-1]]
    assert main(["compare", *runs, "--set", "seed=4", "--output", str(tmp_path / "out")]) == 2
    assert "--set changes configurations" in capsys.readouterr().err
    shutil.copytree(folder / "out" / "one", tmp_path / "one")
    assert main(["compare", runs[1], str(tmp_path / "one"), "--output", str(tmp_path / "out")]) == 2
    assert "two runs have the name 'one'" in capsys.readouterr().err
    (tmp_path / "one" / "metrics.json").write_text("{}")
    assert main(["compare", runs[0], str(tmp_path / "one"), "--output", str(tmp_path / "out")]) == 2
    assert "is incomplete" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_failed_run_does_not_stop_the_others(tmp_path, photos, capsys):
    make_photos(tmp_path / "others", {"apple": 12, "berry": 12}, seed=1)
    lost = write_config(tmp_path / "lost.yaml", tmp_path / "nowhere")
    small = write_config(tmp_path / "small.yaml", tmp_path / "others", epochs=1)
    large = write_config(tmp_path / "large.yaml", photos, epochs=1)
    assert main(["compare", lost, small, large, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "error: lost: " in said.err and "nowhere" in said.err and "Traceback" not in said.err
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["state"] for row in report["runs"]] == ["failed", "finished", "finished"]
    assert len(report["notes"]) == 1 and "different images, labels or splits" in report["notes"][0]
    assert report["notes"][0] in said.out and "failed" in said.out


def test_a_crashed_process_is_distinguished(tmp_path, configs, monkeypatch, capsys):
    monkeypatch.setattr(compare_run, "_call", lambda *_: -9)
    assert main(["compare", *configs, "--output", str(tmp_path / "out")]) == 1
    assert "killed by signal 9" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_unfinished_run_is_resumed_but_not_on_other_versions(compared, tmp_path, photos):
    other = str(compared[0] / "out" / "two")
    from tests.training.small import StopAt

    source, out = write_config(tmp_path / "one.yaml", photos, epochs=3), tmp_path / "out"
    config = load_config(source, output=str(out / "one"))
    with pytest.raises(Interrupted):
        train(config, callbacks=[StopAt(1)], say=lambda _: None)
    write_json(
        out / "compare.json", {"asked": {"one": asdict(RunRequest.from_config(load_config(source), None, None))}}
    )
    run = RunDirectory(out / "one")
    manifest = run.read_json(run.manifest)
    run.update_manifest({"versions": {**manifest["versions"], "keras": "3.0"}})
    first, _ = compare([source, other], output=out, quiet=True)["runs"]
    assert first["state"] == "failed" and "versions: keras 3.0" in first["problem"] and not run.is_finished()
    first, _ = compare([source, other], output=out, accept_changes=True, quiet=True)["runs"]
    assert first["state"] == "finished" and first["epochs"] == 3
    assert any("keras 3.0" in line for line in run.read_json(run.manifest)["changes"])
