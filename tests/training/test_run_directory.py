"""What survives in a run directory: other processes, changes, bad numbers, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from keras_transfer.errors import Interrupted, UserError
from keras_transfer.models.bundle import load
from keras_transfer.runs import RunDirectory
from keras_transfer.training.state import load_state, newest_state, within_epoch
from keras_transfer.training.train import resume_run, train
from tests.conftest import ROOT
from tests.training.small import PHASES, StopAt, resume, settings

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture
def cut(photos, tmp_path) -> RunDirectory:
    """A run that was interrupted in the second epoch of its first phase."""
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "run", "1 step"), callbacks=[StopAt(1)], say=lambda _: None)
    return RunDirectory(tmp_path / "run")


def test_a_run_that_another_process_is_at_is_refused_until_that_is_gone(cut):
    program = (
        "import sys, time; from keras_transfer.runs import RunDirectory\n"
        f"with RunDirectory({str(cut.path)!r}).locked(): print('mine', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match="another process is training in"):
            resume(cut.path)
    finally:
        other.kill()
        other.communicate()
    resume(cut.path)
    assert not cut.state.exists()


def test_of_two_runs_that_begin_in_the_same_folder_one_wins(photos, tmp_path):
    config = settings(photos, tmp_path / "run")
    one, other = (RunDirectory.create(str(tmp_path / "run"), "run") for _ in range(2))
    with one.locked():
        one.start(config, {}, {})
        with pytest.raises(UserError, match="another process"), other.locked():
            pass
    with other.locked(), pytest.raises(UserError, match="exists and is not empty"):
        other.start(config, {}, {"other": True})
    assert one.read_json(one.manifest) == {}


def test_runs_without_a_name_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {RunDirectory.create(None, "run").path for _ in range(3)}
    assert len(paths) == 3 and all(path.is_dir() for path in paths)


@pytest.mark.parametrize(
    ("files", "ours"),
    [
        ([], True),
        (["state/lock", "manifest.json", ".splits.json.abc.part"], True),
        (["manifest.json"], False),  # no run of ours is without its lock
        (["state/lock", "notes.txt"], False),
        (["state/lock", "state/state.npz"], False),
        (["state/lock", "config.yaml"], False),
    ],
)
def test_only_a_folder_without_anything_to_lose_is_begun_anew(photos, tmp_path, files, ours):
    for name in files:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    if ours:
        config = settings(photos, tmp_path / "run", phases=[{**PHASES[0], "epochs": 1}])
        run = train(config, say=lambda _: None)
        assert run.metrics.is_file() and not list(run.path.rglob(".*.part"))
    else:
        with pytest.raises(UserError, match="exists and is not empty"):
            RunDirectory.refuse_existing(str(tmp_path / "run"))
        assert all((tmp_path / "run" / name).is_file() for name in files)


def edit(file: Path, *keys, value) -> None:
    read = json.loads if file.suffix == ".json" else yaml.safe_load
    tree = read(file.read_text())
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    file.write_text(json.dumps(tree) if file.suffix == ".json" else yaml.safe_dump(tree))


def test_a_run_of_an_earlier_version_is_resumed_without_a_word(cut):
    """Its files lack the keys that came later, and hold what was chosen as text."""
    for file in (cut.config, cut.manifest):
        read = json.loads if file.suffix == ".json" else yaml.safe_load
        tree = read(file.read_text())
        config = tree.get("config", tree)
        del config["data"]["options"], config["phases"][1]["group_decay"]
        if file == cut.manifest:
            tree["chosen"] = ["data.color = rgb (colour pictures)"]
        file.write_text(json.dumps(tree) if file.suffix == ".json" else yaml.safe_dump(tree))
    run = resume(cut.path)
    assert (run.is_finished() and "changes" not in run.read_json(run.manifest)) or not run.read_json(run.manifest)[
        "changes"
    ]


def test_a_run_on_another_packages_source_is_read_without_that_package(cut):
    edit(cut.config, "data", "source", value="elsewhere")
    assert cut.read_config().data.source == "elsewhere"
    with pytest.raises(UserError, match="unknown data source 'elsewhere'"):
        resume(cut.path)


def test_what_changed_is_listed_and_refused_unless_accepted(cut, photos):
    edit(cut.config, "phases", 1, "epochs", value=1)
    edit(cut.manifest, "versions", "keras", value="3.0.0")
    next((photos / "apple").glob("*.png")).unlink()
    now = cut.read_json(cut.manifest)
    with pytest.raises(UserError, match="--accept-changes") as refused:
        resume(cut.path)
    lines = str(refused.value).splitlines()
    assert lines[:-1] == [
        "phases.1.epochs: 2 → 1",
        f"versions: keras 3.0.0 → {keras.__version__}",
        "data: images, labels or splits changed",
    ]
    assert cut.read_json(cut.manifest) == now

    said = []
    run = resume(cut.path, say=said.append, accept_changes=True)
    assert [f"changed: {line}" for line in lines[:-1]] == [line for line in said if line.startswith("changed: ")]
    assert [row["phase"] for row in run.read_history()] == ["head", "head", "all"]
    manifest = run.read_json(run.manifest)
    assert manifest["changes"] == lines[:-1]
    assert manifest["data"]["images"] == {"train": 41, "val": 9, "test": 9}
    assert len(run.read_json(run.splits)) == 59


def test_what_is_told_is_kept_and_not_asked_about_again(cut):
    said = []
    with pytest.raises(Interrupted):
        resume(cut.path, "phases.1.epochs=1", say=said.append, callbacks=[StopAt(9), StopAt(0, 0)])
    assert "changed: phases.1.epochs: 2 → 1" in said
    assert cut.read_config().phases[1].epochs == 1
    run = resume(cut.path)
    assert [row["phase"] for row in run.read_history()] == ["head", "head", "all"]


def test_another_backend_is_a_change(cut, monkeypatch):
    edit(cut.manifest, "config", "backend", value="other")
    with pytest.raises(UserError, match=r"^backend: other → "):
        resume(cut.path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.0.optimizer=sgd", "belongs to another model or optimizer"),
        ("model.backbone=mobilenet_v2", "belongs to another model or optimizer"),
        ("phases.0.epochs=none", "phases.0.epochs"),
    ],
)
def test_what_cannot_fit_is_one_line_and_changes_nothing(cut, override, message):
    files = {file: file.read_bytes() for file in (cut.config, cut.manifest, cut.splits, cut.state_file)}
    with pytest.raises(UserError, match=message) as refused:
        resume(cut.path, override)
    assert len(str(refused.value).splitlines()) == 1
    assert files == {file: file.read_bytes() for file in files}
    resume(cut.path)


def test_a_phase_that_is_not_there_any_more(photos, tmp_path):
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "run", "1 step"), callbacks=[StopAt(2)], say=lambda _: None)
    with pytest.raises(UserError, match="in phase 2, but there are only 1 phases"):
        resume(tmp_path / "run", f"phases={json.dumps(PHASES[:1])}")


def test_a_damaged_configuration_is_one_line(cut):
    cut.config.write_text("phases: [")
    with pytest.raises(UserError, match="not valid YAML"):
        resume(cut.path)


def test_a_loss_that_is_not_a_number_names_the_images_and_how_to_go_on(photos, tmp_path):
    bad = {"name": "all", "epochs": 2, "learning_rate": 3e38, "optimizer": "sgd"}
    with pytest.raises(UserError, match="lower the phase's learning_rate") as stop:
        train(settings(photos, tmp_path / "run", "1 step", phases=[PHASES[0], bad]), say=lambda _: None)
    run = resume_run(tmp_path / "run")
    told = run.read_json(run.bad_batch)
    assert (told["phase"], told["epoch"], told["batch"]) == ("all", 1, 2)  # its first step spoils the weights
    assert "in batch 2 of epoch 1 of phase all" in str(stop.value)
    splits = run.read_json(run.splits)
    names = [name for name, split in splits.items() if split == "train"]
    assert len(told["images"]) == 16
    assert all(names[image["index"]] == image["name"] for image in told["images"])

    state = load_state(run.state_file)
    assert (state.phase, state.phase_done) == (0, True)  # and nothing of what came later
    assert not within_epoch(run.state_file).exists()
    load(run.model)
    advice = str(stop.value).splitlines()[-1]
    assert f"--resume --output {run.path} --set phases.1.learning_rate=3e+37" in advice
    resumed = resume(tmp_path / "run", "phases.1.learning_rate=0.01")
    assert len(resumed.read_history()) == 4


class Spoil(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        weight = self.model.trainable_variables[0]
        weight.assign(np.full(weight.shape, np.inf))


def test_weights_that_the_last_step_of_an_epoch_spoils(photos, tmp_path):
    data = {"path": str(photos), "image_size": 32, "batch_size": 64, "augment": [], "workers": 1}
    with pytest.raises(UserError, match=r"the weight .* became infinite or NaN in batch 1 of epoch 1"):
        train(settings(photos, tmp_path / "run", data=data), callbacks=[Spoil()], say=lambda _: None)
    run = RunDirectory(tmp_path / "run")
    assert len(run.read_json(run.bad_batch)["images"]) == 42
    assert not run.state_file.exists()


FILLS_UP = """
import resource, sys
from keras_transfer import runtime
runtime.use_backend()
import keras
from keras_transfer import cli
import keras_transfer.training.train as module

class FullDisk(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

train = module.train
module.train = lambda *arguments, **options: train(*arguments, callbacks=[FullDisk()], **options)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_disk_that_fills_up_is_one_line_and_loses_nothing(photos, tmp_path):
    pytest.importorskip("resource")
    config = tmp_path / "config.yaml"
    tree = settings(photos, tmp_path / "run", "1 step").model_dump(mode="json", exclude_unset=True)
    config.write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "-c", FILLS_UP, "train", str(config)],
        capture_output=True, text=True, check=False, cwd=ROOT,
        # Measuring coverage, the child would have a file of its own to write.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if "images/s" not in line]
    assert errors[0].startswith("error: cannot write") and "too large" in errors[0]
    assert errors[1:] == [] or (len(errors) == 2 and "train --resume" in errors[1])
    run = RunDirectory(tmp_path / "run")
    state = newest_state(run.state_file)
    assert (state.phase, state.epoch, state.batch) == (0, 1, 2)
    load(run.model)
    assert not list(run.path.rglob(".*.part"))
    whole = train(settings(photos, tmp_path / "whole"), say=lambda _: None)
    resumed = resume(run.path)
    for a, b in zip(load(whole.model)[0].get_weights(), load(resumed.model)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_turns_read_only_is_one_line_and_loses_nothing(cut):
    folders = (cut.path, cut.state)
    for folder in folders:
        folder.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot write"):
            resume(cut.path)
        load_state(cut.state_file)
        load(cut.model)
    finally:
        for folder in folders:
            folder.chmod(0o700)
    resume(cut.path)


@pytest.mark.parametrize("name", ["state.npz", "within_epoch.npz"])
def test_a_state_that_cannot_be_read_says_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(
        UserError, match=r"cannot be read: .*; remove it to resume from the run's other state"
    ) as caught:
        newest_state(tmp_path / "state.npz")
    assert name in str(caught.value) and "\n" not in str(caught.value)
