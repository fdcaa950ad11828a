"""The script for a machine with a GPU: steps one after the other, each recorded, whatever becomes of it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_step_is_recorded_with_the_figures_of_its_run_or_file(tmp_path):
    run, file = tmp_path / "run", tmp_path / "results.jsonl"
    run.mkdir()
    test = {"n": 10, "accuracy": 0.9, "accuracy_ci95": [0.6, 0.98], "confusion": [[1]]}
    (run / "metrics.json").write_text(json.dumps({"test": test, "seconds": 3.0, "best": {"epoch": 1}, "phases": []}))
    (tmp_path / "parity.json").write_text('{"agree": true}')
    gpu.record(str(file), "recipe", 0, 3.26, str(run))
    gpu.record(str(file), "parity", 1, 2.0, str(tmp_path / "parity.json"))
    gpu.record(str(file), "lost", 124, 60.0, str(tmp_path / "missing.json"))
    recipe, parity, lost = lines(file)
    assert recipe["result"]["test"] == {"n": 10, "accuracy": 0.9, "accuracy_ci95": [0.6, 0.98]}
    assert recipe["seconds"] == 3.3 and recipe["result"]["seconds"] == 3.0
    assert parity == {"step": "parity", "exit": 1, "seconds": 2.0, "result": {"agree": True}}
    assert lost == {"step": "lost", "exit": 124, "seconds": 60.0}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_failing_step_does_not_stop_the_rest(tmp_path):
    """With a stand-in for Python that fails on recipes, and records as the real one does."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f'#!/bin/sh\ncase "$*" in\n*"benchmarks.gpu record"*) exec {sys.executable} "$@" ;;\n'
        '*"train cifar10"*) echo "$@"; exit 3 ;;\nesac\necho "$@"\n'
    )
    stand_in.chmod(0o755)
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "mnist").mkdir(parents=True)
    (data / "cifar10.tar.gz").touch()
    environment = {**os.environ, "PYTHON": str(stand_in), "DATA": str(data), "OUT": str(out)}
    done = subprocess.run(
        [SCRIPT, "--only", "re"], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert f"recipe-fashion_mnist_resnet18_scratch: skipped, {data}/fashion-mnist does not exist" in done.stdout
    found = {line["step"]: line["exit"] for line in lines(out / "results.jsonl")}
    failed = {"cifar10_resnet18_scratch", "cifar10_efficientnet_lite0", "cifar10_alexnet_scratch"}
    assert {name: status for name, status in found.items() if name.startswith("recipe")} == {
        "recipe-mnist_resnet50": 0,
        **{f"recipe-{name}": 3 for name in failed},
    }
    assert found["resume"] == 0
    assert "--set data.batch_size=512" in (out / "recipe-mnist_resnet50.log").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_recipes_that_it_names_accept_its_settings():
    """Each `--set` of the script, in its recipe."""
    from keras_transfer.config import load_config

    text = SCRIPT.read_text("utf-8").replace("\\\n", " ")
    named = [line.split() for line in text.splitlines() if line.strip().startswith("recipe ")]
    assert len(named) == 5
    for words in named:
        changes = [word for before, word in itertools.pairwise(words) if before == "--set"]
        assert changes
        load_config(words[1], ["data.path=x", *changes])
