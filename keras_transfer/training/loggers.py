"""Experiment loggers: send the configuration, the metrics of every epoch and the result to MLflow or Weights & Biases.

The Keras callbacks of both libraries assume a single ``fit``: MLflow's restarts its steps with each one, rejects the
parameters of a second optimizer and needs pandas; that of Weights & Biases imports TensorFlow on every backend. Here a
training run is one logged run, across phases, interruptions and backends; the step is the total number of epochs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from keras_transfer import runtime
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.errors import MissingExtra
from keras_transfer.runs import RunDirectory
from keras_transfer.training.changes import leaves
from keras_transfer.typing import Say

LONGEST = 6000  # maximum characters of an MLflow parameter
AT_ONCE = 100  # maximum parameters of an MLflow request
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"

Memory = dict[str, str]


class Logger(Protocol):
    """An experiment logger."""

    name: str

    def begin(self, run: RunDirectory, known: Memory, parameters: Mapping[str, Any]) -> Memory:
        """Start a logged run or continue a known one; return what identifies it."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the metrics of a step."""

    def end(self, metrics: Mapping[str, float], status: str) -> None:
        """Log the result, if there is one, and end the logged run."""


class MLflow:
    """Log to MLflow: to the server of ``MLFLOW_TRACKING_URI``, else to a database in the run directory.

    Args:
        experiment: experiment name; None: ``MLFLOW_EXPERIMENT_NAME``, or the name in the configuration.
    """

    name = "mlflow"

    def __init__(self, experiment: str | None):
        try:
            import mlflow
        except ImportError as error:
            raise MissingExtra("mlflow-skinny", "mlflow", "callbacks.mlflow") from error
        self._mlflow, self._experiment, self._step = mlflow, experiment, 0

    def begin(self, run: RunDirectory, known: Memory, parameters: Mapping[str, Any]) -> Memory:
        """Start a run or continue a known one, whose parameters MLflow does not allow to change."""
        runtime.limit_mlflow_retries()
        server = self._mlflow.get_tracking_uri() if self._mlflow.is_tracking_uri_set() else ""
        if not server:
            run.mlflow.mkdir(exist_ok=True)
        self._client = self._mlflow.MlflowClient(server or f"sqlite:///{run.mlflow.absolute() / 'mlflow.db'}")
        if known.get("server") == server:
            self._run = known["run"]
            self._client.update_run(self._run, status="RUNNING")
            return known
        name = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or parameters["name"]
        found = self._client.get_experiment_by_name(name)
        files = None if server else (run.mlflow.absolute() / "artifacts").as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(name, files)
        self._run = self._client.create_run(experiment, run_name=run.path.name).info.run_id
        entities = [self._mlflow.entities.Param(key, str(value)[:LONGEST]) for key, value in parameters.items()]
        for start in range(0, len(entities), AT_ONCE):
            self._client.log_batch(self._run, params=entities[start : start + AT_ONCE])
        return {"run": self._run, "server": server}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the metrics of a step."""
        self._step = step
        for name, value in metrics.items():
            self._client.log_metric(self._run, name, value, step=step)

    def end(self, metrics: Mapping[str, float], status: str) -> None:
        """Log the result and end the run."""
        self.log(metrics, self._step)
        self._client.set_terminated(self._run, status)


class WandB:
    """Log to Weights & Biases, with files in the run directory; offline with ``WANDB_MODE=offline``.

    Args:
        project: project name; None: ``WANDB_PROJECT``, or the name in the configuration.
    """

    name = "wandb"

    def __init__(self, project: str | None):
        try:
            import wandb
        except ImportError as error:
            raise MissingExtra("wandb", "wandb", "callbacks.wandb") from error
        self._wandb, self._project = wandb, project

    def begin(self, run: RunDirectory, known: Memory, parameters: Mapping[str, Any]) -> Memory:
        """Start a run or continue a known one."""
        self._run = self._wandb.init(
            project=self._project or os.environ.get("WANDB_PROJECT") or parameters["name"],
            name=run.path.name,
            id=known.get("run"),
            resume="allow",
            dir=str(run.path),
            config=dict(parameters),
            reinit="create_new",  # leaves the caller's open run alone
            settings=self._wandb.Settings(console="off"),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        return {"run": self._run.id}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the metrics of a step."""
        self._run.log({"step": step, **metrics})

    def end(self, metrics: Mapping[str, float], status: str) -> None:
        """Log the result and end the run."""
        self._run.summary.update(dict(metrics))
        self._run.finish(exit_code=int(status != FINISHED))


class Loggers:
    """The loggers of a run; one that fails is dropped with a message.

    As a context manager, it ends the logged runs as finished, failed or interrupted.

    Args:
        config: selects the loggers.
        say: prints a line.

    Raises:
        MissingExtra: the package of a logger is not installed.
    """

    def __init__(self, config: ResolvedConfig, say: Say):
        wanted: list[tuple[Callable[[str | None], Logger], bool | str]] = [
            (MLflow, config.callbacks.mlflow),
            (WandB, config.callbacks.wandb),
        ]
        self._loggers = [kind(name if isinstance(name, str) else None) for kind, name in wanted if name is not False]
        self._phases: list[str] = [phase.name for phase in config.phases]
        self._say, self._begun = say, False
        self._result: dict[str, float] = {}

    def begin(self, run: RunDirectory, config: ResolvedConfig) -> None:
        """Start the logged runs, or continue those of an interrupted run."""
        if not self._loggers:
            return
        known: dict[str, Memory] = run.read_json(run.loggers) if run.loggers.is_file() else {}
        parameters = {key: _parameter(value) for key, value in leaves(config.model_dump(mode="json"))}
        self._begun = True

        def begin(logger: Logger) -> None:
            known[logger.name] = logger.begin(run, known.get(logger.name, {}), parameters)

        self._each(begin)
        run.write_json(run.loggers, known)

    def log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the last row of the history."""
        metrics = {**_metrics(rows[-1]), "phase": 1.0 + self._phases.index(rows[-1]["phase"])}
        self._each(lambda logger: logger.log(metrics, len(rows)))

    def result(self, metrics: Mapping[str, Any]) -> None:
        """Store the content of ``metrics.json``, to be logged at the end."""
        for split, name in (("val", "best_val"), ("test", "test")):
            self._result |= {f"{name}_{key}": value for key, value in _metrics(metrics.get(split, {})).items()}
        self._result["total_seconds"] = metrics["seconds"]

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            stopped = KILLED if kind is not None and issubclass(kind, KeyboardInterrupt) else FAILED
            self._each(lambda logger: logger.end(self._result, FINISHED if kind is None else stopped))

    def _each(self, act: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                act(logger)
            except Exception as error:  # no network, no permission, full disk: not worth failing a training for
                self._loggers.remove(logger)
                what = " ".join(str(error).split())[:300]
                self._say(f"{logger.name}: logging stopped ({type(error).__name__}: {what})")


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if isinstance(value, (int, float)) and key != "epoch"}


def _parameter(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, type(None))) else json.dumps(value)
