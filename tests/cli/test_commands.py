"""The commands as a user runs them, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from keras_transfer.cli import COMMANDS, main

SMALL = ["--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32",
         "--set", "data.augment=[]", "--set", "phases=[{name: all, epochs: 8, learning_rate: 0.01}]",
         "--set", "output.report=false"]  # fmt: skip


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_and_a_script(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    from tests.conftest import ROOT

    assert (ROOT / "scripts" / f"{name.replace('-', '_')}.py").is_file()


def test_bad_usage_is_status_2(capsys):
    for arguments in ([], ["trian"], ["predict", "x"], ["predict", "x", "y", "--top", "0"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


@pytest.mark.backend
def test_train_evaluate_predict(command, photos, tmp_path):
    run = tmp_path / "run"
    done = command("train", "--data", photos, *SMALL, "--output", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"run: {run}"
    assert "images/s" in done.stderr and "images/s" not in done.stdout
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert accuracy > 0.7

    done = command("evaluate", run, "--json", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m.json").read_text())["accuracy"] == accuracy
    done = command("evaluate", run / "model.keras", "--data", photos, "--json", tmp_path / "all.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "all.json").read_text())["n"] == 60

    (photos / "berry" / "broken.png").write_bytes(b"broken")
    done = command("predict", run, photos / "berry", photos / "apple" / "000.png", "--json", tmp_path / "p.json",
                   "--grid", tmp_path / "grid.png")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    predictions = json.loads((tmp_path / "p.json").read_text())
    assert len(predictions) == 22
    assert (tmp_path / "grid.png").stat().st_size > 1000
    done = command("predict", run / "model.keras", photos / "apple" / "000.png", "--top", 2)
    assert "apple" in done.stdout and done.returncode == 0


@pytest.mark.backend
@pytest.mark.slow
def test_evaluate_keeps_the_models_label_order(command, photos, tmp_path):
    """Data with fewer classes than the model, in folders that would be numbered otherwise."""
    run = tmp_path / "run"
    assert command("train", "--data", photos, *SMALL, "--output", run).returncode == 0
    import shutil

    shutil.rmtree(photos / "apple")
    done = command("evaluate", run, "--data", photos, "--json", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["n"] == 40 and metrics["accuracy"] > 0.7
    (photos / "dragonfruit").mkdir()
    shutil.copy(photos / "berry" / "000.png", photos / "dragonfruit")
    done = command("evaluate", run, "--data", photos)
    assert done.returncode == 2 and "dragonfruit" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.backend
@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupting_prints_how_to_go_on(photos, tmp_path, kind):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "keras_transfer", "train", "--data", str(photos), *SMALL, "--output", str(run),
               "--set", "phases.0.epochs=5000", "--set", "callbacks.early_stopping=null"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert list((run / "state").glob("*.npz")), "the signal saved the state"
    assert f"keras-transfer train --resume --output {run}" in errors
    assert "Traceback" not in errors


@pytest.mark.backend
def test_debug_shows_the_traceback(capsys, tmp_path):
    assert main(["train", "--data", str(tmp_path / "nothing"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
