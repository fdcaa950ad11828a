"""Search for better settings: read :func:`sweep`, which is the command and the Python interface."""

from __future__ import annotations

import functools
import gc
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
from keras_transfer.distribute.place import place
from keras_transfer.errors import MissingExtra, Trouble, UserError, unknown
from keras_transfer.options import PRUNERS, SAMPLERS
from keras_transfer.sweeps.objective import Objective, objective_named
from keras_transfer.sweeps.result import COMPLETE, FAILED, FOUND, PRUNED, SweepResult, figure, shown, write_results
from keras_transfer.sweeps.space import Space, open_space
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from optuna.trial import Trial

    from keras_transfer.sweeps.study import Study
    from keras_transfer.sweeps.trial import SharedData

TRIALS = 30
FOLDER = "runs/sweep"
_PATHS = ("path", "root", "train", "val", "test", "classes")
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
    ray: str | None = None,
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
        ray: run trials on a Ray cluster: ``"local"``, ``"auto"`` or ``HOST:PORT``. Its machines must reach the storage and the images.
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
    _refuse_launcher()
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
    limits = _Limits(trials, minutes, sampler, pruner)
    elsewhere = None if ray is None else _on_ray(ray, plan, limits, storage, say)
    result = _search(plan, limits, storage, elsewhere, say)
    if report and result.best is not None:
        from keras_transfer.sweeps.report import write_report

        write_report(result)
    if not result.count(COMPLETE) and result.count(FAILED):
        reasons = dict.fromkeys(str(row["reason"]).splitlines()[0] for row in result.trials if row["state"] == FAILED)
        raise UserError("\n".join(f"every trial failed: {reason}" for reason in list(reasons)[:3]))
    return result


def _refuse_launcher() -> None:
    """Refuse processes that a launcher has started to train one model together: each would take a trial of its own."""
    here = place()
    if here is not None and here.size > 1:
        raise UserError(
            f"a sweep shares trials between processes that know nothing of each other; this is process {here.rank} of {here.size} "
            f"({here.launcher}): give the plain command, as many times as there shall be processes"
        )


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


@dataclass(frozen=True)
class _Limits:
    """When a sweep ends, and how it chooses."""

    trials: int | None
    minutes: float | None
    sampler: str
    pruner: str


Elsewhere = Callable[[Callable[[], None]], None]
"""Runs the trials in other processes, and calls a function now and then."""


def _search(plan: _Plan, limits: _Limits, storage: str | None, elsewhere: Elsewhere | None, say: Say) -> SweepResult:
    """Run trials until there are enough."""
    from keras_transfer.sweeps.study import Study, pruner_named, sampler_named
    from keras_transfer.sweeps.trial import SharedData

    seeded = sampler_named(limits.sampler, plan.space, plan.start.seed)
    _check_folder(plan.folder)
    opened = SharedData()
    data = opened(with_absolute_paths(plan.start))  # what is wrong with the data is said once, before the first trial
    say(data.summary())
    study = Study(storage, plan.name, plan.folder, plan.objective.direction, plan.space, _about(plan, data.fingerprint))
    study.optuna.sampler, study.optuna.pruner = seeded, pruner_named(limits.pruner)
    say(_opening(plan, study, limits.trials))
    try:
        if elsewhere is not None:
            elsewhere(_News(plan, study, limits.trials, say))
        else:
            _run_here(_Worker(plan, study, opened, limits, say), limits)
    finally:
        result = _result(plan, study)
        if study.trials:
            write_results(result)
    return result


def _run_here(work: _Worker, limits: _Limits) -> None:
    """Run trials one after the other."""
    end = None if limits.minutes is None else time.monotonic() + 60 * limits.minutes
    while end is None or time.monotonic() < end:
        if not work.study.run_one(limits.trials, work, (_TrialFailed,)):
            break
        write_results(_result(work.plan, work.study))
        gc.collect()  # the layers of a model refer to each other in circles


def _on_ray(address: str, plan: _Plan, limits: _Limits, storage: str | None, say: Say) -> Elsewhere:
    """Return what runs the trials on a Ray cluster: this function itself, in its processes, on the same study."""
    from keras_transfer.batch.cluster import require_ray
    from keras_transfer.sweeps.on_ray import run_on_ray

    require_ray()
    journal = storage is not None and "://" not in storage
    take = functools.partial(
        sweep, with_absolute_paths(plan.start), plan.space.as_json(), trials=limits.trials, minutes=limits.minutes,
        objective=plan.objective.name, sampler=limits.sampler, pruner=limits.pruner, name=plan.name, backend=plan.backend,
        storage=str(Path(storage).absolute()) if storage is not None and journal else storage,
        output=str(plan.folder.absolute()), device=plan.device, report=False, say=_nothing,
    )  # fmt: skip
    return lambda look: run_on_ray(address, take, look, say)


def _nothing(line: object = "") -> None:
    """Print nothing."""


def _check_folder(folder: Path) -> None:
    """Refuse a folder for the results that is something else."""
    if folder.is_file():
        raise UserError(f"the output {folder} is a file; choose a folder with --output")
    if (folder / "config.yaml").is_file():
        raise UserError(f"the output {folder} is a run directory; choose another folder with --output")


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
    measured = next(filter(None, (one.user_attrs.get(FOUND, {}).get("measured_on") for one in trials)), "")
    importance = importance_of(study.optuna, plan.space)
    return SweepResult(plan.name, plan.folder, plan.objective, measured, plan.space, plan.base,
                       [row_of(one) for one in trials if one.state.name != "WAITING"], importance)  # fmt: skip


class _TrialFailed(Exception):  # noqa: N818
    """A trial could not be trained; the sweep goes on."""


class _Worker:
    """Trains trials one after the other; what Optuna calls the objective."""

    def __init__(self, plan: _Plan, study: Study, opened: SharedData, limits: _Limits, say: Say):
        self.plan, self.study, self.opened, self.say = plan, study, opened, say
        self.trials, self.pruner = limits.trials, limits.pruner
        self.smoothed = any(key in plan.space.keys for key in _SMOOTHED)

    def __call__(self, trial: Trial) -> float:
        """Train and return the value."""
        import optuna

        from keras_transfer.sweeps.trial import train_trial

        began = time.monotonic()
        plan = self.plan
        settings = _settings(trial.params)
        epochs = _Epochs(trial, plan.objective, self.smoothed, prunes=self.pruner != "none")
        try:
            config = plan.space.config(plan.base, trial.params)
            found = train_trial(config, plan.backend, plan.device, self.opened, epochs)
            value = plan.objective.of(found.metrics)
        except optuna.TrialPruned:
            last = max(epochs.values)
            self._keep(trial, epochs=last, seconds=round(time.monotonic() - began, 3))
            self._tell(trial.number, f"pruned after epoch {last}", settings)
            raise
        except (Trouble, MissingExtra):
            raise
        except UserError as error:
            trial.set_user_attr("reason", str(error))
            self._tell(trial.number, f"failed: {str(error).splitlines()[0]}", settings)
            raise _TrialFailed from error
        self._keep(trial, accuracy=found.metrics["accuracy"], log_loss=found.metrics["log_loss"], epochs=found.epochs,
                   seconds=found.seconds, best=found.best, measured_on=found.measured_on, epoch_values=epochs.values)  # fmt: skip
        self._tell(trial.number, f"{figure(plan.objective, value)}, {found.seconds:.1f} s", settings)
        return value

    @staticmethod
    def _keep(trial: Trial, **found: Any) -> None:
        """Store what was found in one step: a journal waits for the disk at each."""
        trial.set_user_attr(FOUND, found)

    def _tell(self, number: int, what: str, settings: str) -> None:
        self.say(f"trial {number}{_of(self.study, self.trials)}: {what}; {settings}")


class _Epochs:
    """Gets the epochs of a trial, and ends it if it is not worth going on.

    Attributes:
        values: epoch, from 1 → figure.
    """

    def __init__(self, trial: Trial, objective: Objective, smoothed: bool, prunes: bool):
        self._trial, self._objective, self._smoothed, self._prunes = trial, objective, smoothed, prunes
        self.values: dict[int, float] = {}

    def __call__(self, row: Mapping[str, Any], step: int) -> None:
        """Take the row of an epoch."""
        value = self._objective.of_epoch(row, self._smoothed)
        if value is None:
            return
        self.values[step] = value
        if self._prunes:
            import optuna

            self._trial.report(value, step)
            if self._trial.should_prune():
                raise optuna.TrialPruned


class _News:
    """Says which trials have ended since the last call."""

    def __init__(self, plan: _Plan, study: Study, trials: int | None, say: Say):
        self.plan, self.study, self.trials, self.say = plan, study, trials, say
        self._known = {one.number for one in study.trials if one.state.is_finished()}

    def __call__(self) -> None:
        """Print a line for each."""
        result = _result(self.plan, self.study)
        for row in result.trials:
            if row["trial"] in self._known or row["state"] not in (COMPLETE, PRUNED, FAILED):
                continue
            self._known.add(row["trial"])
            what = (
                row["state"]
                if row["value"] is None
                else f"{figure(self.plan.objective, row['value'])}, {row['seconds']:.1f} s"
            )
            self.say(f"trial {row['trial']}{_of(self.study, self.trials)}: {what}; {_settings(row['params'])}")


def _of(study: Study, trials: int | None) -> str:
    return f" ({study.done} of {trials})" if trials is not None else ""


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={shown(value)}" for key, value in params.items())
