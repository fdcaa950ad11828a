"""Search for better settings: read :func:`sweep`, which is the command and the Python interface."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Backend, Device, Minutes, Positive, Printer, Switch
from keras_transfer.config.load import load_config
from keras_transfer.config.open_data import with_absolute_paths
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import MissingExtra, Trouble, UserError, unknown
from keras_transfer.options import PRUNERS, SAMPLERS
from keras_transfer.sweeps.objective import Objective, objective_named
from keras_transfer.sweeps.result import COMPLETE, FAILED, SweepResult, figure, shown, write_results
from keras_transfer.sweeps.space import Space, open_space
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from optuna.trial import Trial

    from keras_transfer.sweeps.study import Study
    from keras_transfer.sweeps.trial import SharedData

TRIALS = 30
FOLDER = "runs/sweep"
_PATHS = ("path", "root", "train", "val", "test")
_SMOOTHED = ("model.label_smoothing", "model.loss")
"""Keys that change what the loss of an epoch means; the final value of a trial is always the log-loss."""


@checked
def sweep(  # most of it documentation
    config: RunConfig | AnyPath,
    space: dict[str, Any] | AnyPath | list[Any],
    *,
    trials: Positive | None = None,
    minutes: Minutes | None = None,
    objective: str = "accuracy",
    sampler: str = "tpe",
    pruner: str = "median",
    storage: str | None = None,
    name: str | None = None,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    report: Switch = True,
    say: Printer = text.say,
) -> SweepResult:
    """Search for better settings with Optuna: every trial is a training, judged by validation images or out of fold, never by the test set.

    Called again with the same arguments, it goes on where it stopped; called in several processes at once, they share the trials.

    Args:
        config: what every trial starts from: a configuration, a YAML file, the name of a recipe, or a folder of images.
        space: what is searched: configuration keys with ``{"choice": [...]}`` or ``{"low": …, "high": …}`` (and ``log``, ``step``), a YAML
            file of these, the name of a ready-made space (``phases``, ``backbones``, ``augmentation``), or several of them.
        trials: number of trials in the study, those of earlier calls and other processes included; None: 30, or no limit with ``minutes``.
        minutes: start no trial after that many.
        objective: ``"accuracy"``, ``"loss"`` (log-loss), ``"balanced_accuracy"``, ``"macro_f1"``, ``"mean_average_precision"``.
        sampler: ``"tpe"`` (Bergstra et al., 2011), ``"random"`` or ``"grid"``; seeded by the configuration's ``seed``.
        pruner: what ends bad trials early: ``"median"``, ``"hyperband"`` (Li et al., 2018) or ``"none"``.
        storage: where the study is kept: the path of a journal, or the URL of a database; None: a journal in the output folder.
        name: of the study; None: that of the configuration.
        output: folder for the results; None: ``runs/sweep/NAME``.
        backend: Keras backend of all trials.
        device: compute device of all trials.
        report: whether to write the page and its pictures.
        say: prints a line.

    Returns:
        The trials, and the best configuration.

    Raises:
        UserError: anything the user can fix; no trial succeeded.

    Examples:
        >>> base = kt.load_config("quickstart", ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "data.limit=100",
        ...                                      "phases=[{name: all, epochs: 1}]"])
        >>> found = kt.sweep(base, {"phases.0.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, trials=2,
        ...                  output="runs/sweep", report=False, say=lambda line: None)
        >>> len(found.trials), found.config().phases[0].epochs
        (2, 1)
    """
    if importlib.util.find_spec("optuna") is None:
        raise MissingExtra("optuna", "sweep", "a sweep")
    for kind, value, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in known:
            raise unknown(kind, value, known)
    wanted = objective_named(objective)
    start = config if isinstance(config, RunConfig) else _load(os.fspath(config))
    base = start.model_dump(mode="json", exclude_unset=True, exclude={"name", "output"})
    base["name"] = start.name
    found = open_space(space, base)
    title = name or start.name
    folder = Path(output) if output is not None else Path(FOLDER) / title
    plan = _Plan(start, base, found, wanted, title, folder, backend, device)
    if trials is None and minutes is None:
        trials = TRIALS
    result = _search(plan, trials, minutes, sampler, pruner, storage, say)
    if report and result.best is not None:
        from keras_transfer.sweeps.report import write_report

        write_report(result)
    if not result.count(COMPLETE) and result.count(FAILED):
        reasons = dict.fromkeys(str(row["reason"]).splitlines()[0] for row in result.trials if row["state"] == FAILED)
        raise UserError("\n".join(f"every trial failed: {reason}" for reason in list(reasons)[:3]))
    return result


@dataclass(frozen=True)
class _Plan:
    """What is searched, and where the results go."""

    start: RunConfig
    base: dict[str, Any]
    space: Space
    objective: Objective
    name: str
    folder: Path
    backend: str | None
    device: str | None


def _load(name: str) -> RunConfig:
    path = Path(name)
    is_data = path.is_dir() or (path.exists() and path.suffix.lower() not in (".yaml", ".yml"))
    return load_config(None, (), name) if is_data else load_config(name)


def _search(
    plan: _Plan, trials: int | None, minutes: float | None, sampler: str, pruner: str, storage: str | None, say: Say
) -> SweepResult:
    """Run trials until there are enough."""
    from keras_transfer.sweeps.study import Study, pruner_named, sampler_named
    from keras_transfer.sweeps.trial import SharedData, forget_models

    seeded = sampler_named(sampler, plan.space, plan.start.seed)
    RunFolder(plan.folder).check()
    opened = SharedData()
    data = opened(with_absolute_paths(plan.start))  # what is wrong with the data is said once, before the first trial
    say(data.summary())
    study = Study(storage, plan.name, plan.folder, plan.objective.direction, plan.space, _about(plan, data.fingerprint))
    study.optuna.sampler, study.optuna.pruner = seeded, pruner_named(pruner)
    say(_opening(plan, study, trials))
    work = _Worker(plan, study, opened, trials, say)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    try:
        while end is None or time.monotonic() < end:
            if not study.run_one(trials, work, (_TrialFailed,)):
                break
            write_results(_result(plan, study))
            forget_models()
    finally:
        result = _result(plan, study)
        if study.trials:
            write_results(result)
    return result


class RunFolder:
    """The folder of the results; refuses one that is something else."""

    def __init__(self, path: Path):
        self.path = path

    def check(self) -> None:
        """Raise UserError for a file, or the folder of a run."""
        if self.path.is_file():
            raise UserError(f"the output {self.path} is a file; choose a folder with --output")
        if (self.path / "config.yaml").is_file():
            raise UserError(f"the output {self.path} is a run directory; choose another folder with --output")


def _opening(plan: _Plan, study: Study, trials: int | None) -> str:
    goal = f"{trials} trials" if trials is not None else "trials"
    before = f", {study.done} of them there already" if study.done else ""
    return f"sweep {plan.name}: {goal}{before}; {plan.objective.direction} {plan.objective.name.replace('_', ' ')} over {', '.join(plan.space.keys)}"


def _about(plan: _Plan, fingerprint: str) -> dict[str, Any]:
    """Return what makes trials comparable. Where the data are may differ between machines; what they are may not."""
    config = {key: value for key, value in plan.base.items() if key not in ("name", "backend", "device")}
    images = {key: value for key, value in (config.get("data") or {}).items() if key not in _PATHS}
    return {"config": {**config, "data": images}, "space": plan.space.as_json(), "objective": plan.objective.name, "data": fingerprint}  # fmt: skip


def _result(plan: _Plan, study: Study) -> SweepResult:
    from keras_transfer.sweeps.rows import importance_of, row_of

    trials = study.trials
    measured = next((one.user_attrs["measured_on"] for one in trials if "measured_on" in one.user_attrs), "")
    importance = importance_of(study.optuna, plan.space)
    return SweepResult(plan.name, plan.folder, plan.objective, measured, plan.space, plan.base,
                       [row_of(one) for one in trials if one.state.name != "WAITING"], importance)  # fmt: skip


class _TrialFailed(Exception):  # noqa: N818
    """A trial could not be trained; the sweep goes on."""


class _Worker:
    """Trains trials one after the other; what Optuna calls the objective."""

    def __init__(self, plan: _Plan, study: Study, opened: SharedData, trials: int | None, say: Say):
        self.plan, self.study, self.opened, self.trials, self.say = plan, study, opened, trials, say
        self.smoothed = any(key in plan.space.keys for key in _SMOOTHED)

    def __call__(self, trial: Trial) -> float:
        """Train and return the value."""
        import optuna

        from keras_transfer.sweeps.trial import train_trial

        began = time.monotonic()
        plan = self.plan
        settings = ", ".join(f"{key}={shown(value)}" for key, value in trial.params.items())
        try:
            config = plan.space.config(plan.base, trial.params)
            found = train_trial(config, plan.backend, plan.device, self.opened, self._reporter(trial))
            value = plan.objective.of(found.metrics)
        except optuna.TrialPruned:
            trial.set_user_attr("seconds", round(time.monotonic() - began, 3))
            self._tell(trial.number, f"pruned after epoch {trial.user_attrs['epochs']}", settings)
            raise
        except (Trouble, MissingExtra):
            raise
        except UserError as error:
            trial.set_user_attr("reason", str(error))
            self._tell(trial.number, f"failed: {str(error).splitlines()[0]}", settings)
            raise _TrialFailed from error
        known = {"accuracy": found.metrics["accuracy"], "log_loss": found.metrics["log_loss"], "epochs": found.epochs,
                 "seconds": found.seconds, "best": found.best, "measured_on": found.measured_on}  # fmt: skip
        for key, item in known.items():
            trial.set_user_attr(key, item)
        self._tell(trial.number, f"{figure(plan.objective, value)}, {found.seconds:.1f} s", settings)
        return value

    def _reporter(self, trial: Trial) -> Callable[[Mapping[str, Any], int], None]:
        """Return a function that reports every epoch, and ends the trial if it is not worth going on."""
        import optuna

        def on_epoch(row: Mapping[str, Any], step: int) -> None:
            value = self.plan.objective.of_epoch(row, self.smoothed)
            if value is None:
                return
            trial.report(value, step)
            trial.set_user_attr("epochs", step)
            if trial.should_prune():
                raise optuna.TrialPruned

        return on_epoch

    def _tell(self, number: int, what: str, settings: str) -> None:
        of = f" ({self.study.done} of {self.trials})" if self.trials is not None else ""
        self.say(f"trial {number}{of}: {what}; {settings}")
