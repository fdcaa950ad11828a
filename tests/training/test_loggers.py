"""MLflow and Weights & Biases, offline: one logged run per training run, with configuration, epochs and result."""

from __future__ import annotations

import builtins
import math
import struct
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import yaml

from keras_transfer.errors import Interrupted, MissingExtra
from keras_transfer.runs import RunDirectory
from keras_transfer.training import loggers
from keras_transfer.training.phase_runner import _know_no_model
from keras_transfer.training.train import train
from tests.conftest import ROOT
from tests.training.small import StopAt, resume, settings

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, no user settings."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "wandb_home"))


def config_of(photos: Path, output: Path, **callbacks):
    return settings(photos, output, "1 step", callbacks=callbacks)


def mlflow_runs(run: RunDirectory):
    """Yield (experiment, run, metric → [(step, value)]) from the database in a run directory."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.mlflow / 'mlflow.db'}")
    for experiment in client.search_experiments():
        for found in client.search_runs([experiment.experiment_id]):
            history = {
                name: sorted((point.step, point.value) for point in client.get_metric_history(found.info.run_id, name))
                for name in found.data.metrics
            }
            yield experiment.name, found, history


def wandb_records(run: RunDirectory):
    """Yield the records of each offline file of a run: a LevelDB log of protocol buffers after a 7-byte header."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(run.wandb.glob("offline-run-*/*.wandb")):
        data, at, part, found = file.read_bytes(), 7, b"", []
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack_from("<HB", data, at + 4)
            part += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last piece
                found.append(Record.FromString(part))
                part = b""
        yield found


def wandb_rows(records):
    rows = [{item.key or item.nested_key[0]: item.value_json for item in r.history.item}
            for r in records if r.WhichOneof("record_type") == "history"]  # fmt: skip
    return [{key: float(value) for key, value in row.items() if not key.startswith("_")} for row in rows]


def result_of(run: RunDirectory) -> dict[str, float]:
    metrics = run.read_json(run.metrics)
    return {"test_accuracy": metrics["test"]["accuracy"], "best_val_loss": metrics["val"]["loss"]}


@pytest.mark.slow
def test_a_run_in_mlflow(photos, tmp_path):
    pytest.importorskip("mlflow")
    said = []
    run = train(config_of(photos, tmp_path / "run", mlflow=True), say=said.append)
    assert not [line for line in said if line.startswith("mlflow")]
    ((experiment, found, history),) = mlflow_runs(run)
    assert (experiment, found.info.run_name, found.info.status) == ("small", "run", "FINISHED")
    assert found.data.params["phases.1.learning_rate"] == "0.003"
    assert found.data.params["model.backbone"] == "tiny"
    rows = run.read_history()
    assert history["phase"] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    for name in ("loss", "val_loss", "val_accuracy", "learning_rate"):
        assert history[name] == [(i, pytest.approx(row[name])) for i, row in enumerate(rows, 1)]
    for name, value in result_of(run).items():
        assert history[name] == [(4, pytest.approx(value))]
    assert sorted(path.name for path in run.mlflow.iterdir()) == ["mlflow.db"]


@pytest.mark.slow
def test_a_resumed_run_continues_the_mlflow_run(photos, tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(Interrupted):
        train(config_of(photos, tmp_path / "run", mlflow="fruit"), callbacks=[StopAt(2, 1)], say=lambda _: None)
    run = RunDirectory(tmp_path / "run")
    ((_, found, history),) = mlflow_runs(run)
    assert found.info.status == "KILLED"
    assert [step for step, _ in history["loss"]] == [1, 2]
    resume(run.path)
    ((experiment, again, history),) = mlflow_runs(run)
    assert (experiment, again.info.run_id, again.info.status) == ("fruit", found.info.run_id, "FINISHED")
    assert [step for step, _ in history["val_loss"]] == [1, 2, 3, 4]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_runs_of_one_process_use_separate_databases_or_the_server(photos, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    runs = [train(config_of(photos, tmp_path / name, mlflow=True), say=lambda _: None) for name in ("one", "two")]
    assert [len(list(mlflow_runs(run))) for run in runs] == [1, 1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'all.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "together")
    for name in ("three", "four"):
        assert not train(config_of(photos, tmp_path / name, mlflow=True), say=lambda _: None).mlflow.exists()
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("together").experiment_id])
    assert {run.info.run_name for run in found} == {"three", "four"}


@pytest.mark.slow
def test_a_run_in_wandb(photos, tmp_path):
    wandb = pytest.importorskip("wandb")
    run = train(config_of(photos, tmp_path / "run", wandb=True), say=lambda _: None)
    assert wandb.run is None
    (records,) = wandb_records(run)
    (begun,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert (begun.project, begun.display_name) == ("small", "run")
    parameters = {item.key: item.value_json for item in begun.config.update}
    assert parameters["phases.1.learning_rate"] == "0.003"
    logged, rows = wandb_rows(records), run.read_history()
    assert [row["step"] for row in logged] == [1, 2, 3, 4]
    assert [row["val_loss"] for row in logged] == pytest.approx([row["val_loss"] for row in rows])
    last = {}
    for record in records:
        last |= {item.key or item.nested_key[0]: item.value_json for item in record.summary.update}
    for name, value in result_of(run).items():
        assert float(last[name]) == pytest.approx(value)
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [0]


@pytest.mark.slow
def test_a_resumed_run_continues_the_wandb_run(photos, tmp_path):
    pytest.importorskip("wandb")
    with pytest.raises(Interrupted):
        train(config_of(photos, tmp_path / "run", wandb="fruit"), callbacks=[StopAt(2, 1)], say=lambda _: None)
    run = resume(tmp_path / "run")
    found = list(wandb_records(run))
    (one,), (other,) = ([r.run for r in records if r.WhichOneof("record_type") == "run"] for records in found)
    assert (one.run_id, one.project) == (other.run_id, other.project) and one.project == "fruit"
    assert [[row["step"] for row in wandb_rows(records)] for records in found] == [[1, 2], [3, 4]]
    assert [r.exit.exit_code for r in found[0] if r.WhichOneof("record_type") == "exit"] == [1]


@pytest.mark.slow
def test_a_logger_that_cannot_start_is_reported_in_one_line(photos, tmp_path, command):
    """A server that does not answer, and one that requires a login."""
    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    config = tmp_path / "config.yaml"
    tree = config_of(photos, tmp_path / "run", mlflow=True, wandb=True).model_dump(mode="json", exclude_unset=True)
    config.write_text(yaml.safe_dump(tree))
    done = command("train", config, MLFLOW_TRACKING_URI="http://127.0.0.1:9", WANDB_MODE="online")
    assert done.returncode == 0, done.stderr
    for name in ("mlflow", "wandb"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(name)]
        assert line.startswith(f"{name}: logging stopped (")
    assert done.stdout.splitlines()[-1] == f"run: {tmp_path / 'run'}"


class Fails:
    """A logger whose server disappears."""

    name = "fails"

    def __init__(self, _):
        self.steps = []

    def begin(self, run, known, parameters):
        return {}

    def log(self, metrics, step):
        assert math.isfinite(metrics["val_loss"])
        self.steps.append(step)
        if step == 2:
            raise OSError("no route\nto host")

    def end(self, metrics, status):
        raise AssertionError("was left out")


@pytest.mark.slow
def test_a_logger_that_fails_later_is_dropped(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "MLflow", Fails)
    said = []
    run = train(config_of(photos, tmp_path / "run", mlflow=True), say=said.append)
    assert [line for line in said if line.startswith("fails")] == ["fails: logging stopped (OSError: no route to host)"]
    assert len(run.read_history()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_reported_before_anything_is_written(photos, tmp_path, monkeypatch, name):
    stock = builtins.__import__

    def without(module, *arguments, **options):
        if module.split(".")[0] == name:
            raise ModuleNotFoundError(module)
        return stock(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=rf'callbacks\.{name} needs .* pip install "keras_transfer\[{name}\]"'):
        train(config_of(photos, tmp_path / "run", **{name: True}), say=lambda _: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_neither_package_imports_tensorflow():
    for name in ("mlflow", "wandb"):
        pytest.importorskip(name)
    code = (
        "import sys, mlflow, wandb; mlflow.MlflowClient; mlflow.entities.Param; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_frozen_layers_are_computed_once_with_loggers(photos, tmp_path):
    for name in ("mlflow", "wandb"):
        pytest.importorskip(name)
    phases = [{"name": "head", "epochs": 2, "augment": False}]
    config = settings(photos, tmp_path / "run", phases=phases, callbacks={"mlflow": True, "wandb": True})
    said = []
    train(config, callbacks=[of_module("mlflow.keras.callback")()], say=said.append)
    assert any(line.startswith("frozen features") for line in said)


def of_module(name: str) -> type[keras.callbacks.Callback]:
    return type("Callback", (keras.callbacks.Callback,), {"__module__": name})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "passes"),
    [
        ("mlflow.keras.callback", True),
        ("wandb.integration.keras.callbacks.metrics_logger", True),
        ("wandb.integration.keras.callbacks.tables_builder", False),
        ("my", False),
    ],
)
def test_callbacks_that_only_read_metrics_need_no_whole_model(module, passes):
    assert _know_no_model([of_module(module)()]) is passes
