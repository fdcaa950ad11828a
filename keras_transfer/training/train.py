"""A complete training run, from a configuration to a run directory. Read :func:`train` from top to bottom."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer import runtime, text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import Backend, Callbacks, Device, Printer, Switch
from keras_transfer.config.interval import Interval
from keras_transfer.config.resolved import Decision, ResolvedConfig
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.samples import fingerprint
from keras_transfer.distribute import Group, is_follower
from keras_transfer.errors import UserError
from keras_transfer.evaluation.judged import OUT_OF_FOLD
from keras_transfer.evaluation.leaderboard import show
from keras_transfer.files import check_clock
from keras_transfer.policy.resolve import decisions_as_json
from keras_transfer.runs import RunDirectory, as_seen_from
from keras_transfer.training.board import leaderboard
from keras_transfer.training.changes import changes, differences, refuse
from keras_transfer.training.prepare import Prepared, prepare
from keras_transfer.training.requirements import check_packages
from keras_transfer.typing import Say, quiet

if TYPE_CHECKING:
    import keras

    from keras_transfer.training.fit_result import FitResult
    from keras_transfer.training.run_events import RunEvents
    from keras_transfer.training.setup import TrainingSetup


@checked
def train(  # longer than others: the whole run in one place, most of it documentation
    config: RunConfig,
    *,
    backend: Backend | None = None,
    device: Device | None = None,
    resume: RunDirectory | None = None,
    accept_changes: Switch = False,
    callbacks: Callbacks = (),
    say: Printer = text.say,
) -> RunDirectory:
    """Train, choose the best model by validation, measure it once on the test set, and write everything to a run directory.

    Args:
        config: the run; ``auto`` values are chosen from the data and stored in the run's ``config.yaml``.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.
        resume: an unfinished run to continue, instead of making a new one. ``config`` is then the run's own or a changed copy of it:
            differences are reported and stored with the run.
        accept_changes: continue a run although its files, versions or data are not as they were.
        callbacks: the caller's own Keras callbacks.
        say: prints a line.

    Returns:
        The finished run directory.

    Raises:
        UserError: anything the user can fix; nothing is left behind unless training had begun.
        Interrupted: Ctrl-C or SIGTERM; the state has been saved for resuming.

    Examples:
        >>> settings = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false",
        ...             "phases=[{name: all, epochs: 1}]"]
        >>> config = kt.load_config(data="photos", output="runs/fruit", overrides=settings)
        >>> run = kt.train(config, say=lambda line: None)
        >>> run.is_finished()
        True
    """
    began = time.perf_counter()
    # 1. Open the data, start the backend, replace every `auto`. Of several processes, one prints and writes.
    follows = is_follower()
    say = quiet if follows else say
    if resume is None and not follows:
        RunDirectory.refuse_existing(config.output.dir)
    check_packages(config.callbacks)
    check_clock()
    told = _told(resume, config)
    prepared = prepare(config, backend=backend, device=device, say=say)
    resolved, data, group = prepared.config, prepared.data, prepared.group
    say(data.summary())
    prepared.say_choices(say)
    if prepared.leaderboard is not None:
        show(prepared.leaderboard, say)

    # 2. A resumed run keeps its earlier choices; other changes are reported, and rejected unless accepted.
    resolved = _with_earlier_decisions(resolved, resume, told)
    manifest = _manifest(prepared, resolved)
    changed = group.from_main(lambda: _changes(resume, manifest, told, accept_changes))
    for line in changed:
        say(f"changed: {line}")

    # 3. Build batches and model; errors in either show here, before anything is written.
    from keras_transfer.training import build
    from keras_transfer.training.loggers import Loggers
    from keras_transfer.training.run_events import RunEvents
    from keras_transfer.training.stops import stops_explained

    setup = build.make_setup(resolved, data, group=group)
    if follows:
        return _follow(group, setup, resolved, data, callbacks)
    loggers = Loggers(resolved, say)
    for line in build.network_notes(resolved.model):
        say(line)
    say(f"groups: {build.group_shapes(setup.model, resolved.model.backbone)}")

    # 4. Create or open the run directory, for this process alone.
    run = resume or RunDirectory.create(resolved.output.dir, resolved.name)
    events = RunEvents(run, resolved, data, manifest, loggers, bool(changed))
    with run.locked(), loggers, stops_explained(events, group):
        manifest["data_from_run"] = as_seen_from(run, resolved)
        if resume is None:
            run.start(resolved, data.split_table(), manifest, data.content)
        else:
            run.refuse_finished()
        began -= _seconds_before(run, resolved, say)
        loggers.begin(run, resolved)
        group.from_main(lambda: run.path)

        # 5. Train the phases, through model.fit.
        model, result = _fit(events, setup, callbacks, lambda: time.perf_counter() - began, say)

        # 6. Measure the best model by validation, once, on the test set.
        metrics, logits = _measure(events, model, result)
        metrics["seconds"] = round(time.perf_counter() - began, 3)
        board = leaderboard(run.read_json(run.manifest).get("leaderboard"), result.outcomes)
        if board is not None:
            metrics["leaderboard"] = board.as_json()
            if board != prepared.leaderboard:  # fine-tuning has joined the candidates
                show(board, say)
        _keep(events, model, result, metrics)
    say(build.verdict(metrics))

    # 7. Write the report; the run is complete without it.
    if resolved.output.report:
        _report(run, data, model, logits, say)
    group.close()
    return run


def _follow(
    group: Group, setup: TrainingSetup, config: ResolvedConfig, data: Dataset, callbacks: Sequence[Any]
) -> RunDirectory:
    """Train in a process that another one writes for, and wait until that has finished the run."""
    from keras_transfer.training.run_events import FollowingEvents
    from keras_transfer.training.stops import stops_explained

    run = RunDirectory(group.from_main(lambda: Path()))
    events = FollowingEvents(run, config, data)
    with stops_explained(events, group):
        _fit(events, setup, callbacks, lambda: 0.0, quiet)
        group.close()
    return run


def _fit(
    events: RunEvents, setup: TrainingSetup, callbacks: Sequence[Any], clock: Callable[[], float], say: Say
) -> tuple[keras.Model, FitResult]:
    """Train the phases. If memory runs out and the batch size was automatic, resume with smaller micro-batches."""
    from keras_transfer.training import build
    from keras_transfer.training.faults import free_memory, is_out_of_memory, out_of_memory
    from keras_transfer.training.step_memory import fit_to_memory

    group = setup.settings.group
    fitting = group.from_main(lambda: fit_to_memory(events.config, setup.model, say))
    if fitting != events.config:
        events.change(fitting)
        setup.settings = replace(setup.settings, accumulate=fitting.data.accumulate)
    while True:
        try:
            with setup:
                return setup.model, _run_phases(events, setup, callbacks, clock, say)
        except Exception as error:
            data = events.config.data
            if not is_out_of_memory(error):
                raise
            if not events.config.decided("data.batch_size") or data.micro_batch_size == 1 or group.size > 1:
                raise out_of_memory(data.batch_size, data.micro_batch_size, data.size) from error
        events.change(events.config.in_smaller_parts())
        smaller = events.config.data
        say(
            f"out of memory: {smaller.micro_batch_size} images at once from here on "
            f"(data.accumulate = {smaller.accumulate})"
        )
        setup.release()  # a framework may have lost the arrays of the failed step
        del setup
        free_memory()
        setup = build.make_setup(events.config, events.data, group=group)


def _run_phases(
    events: RunEvents, setup: TrainingSetup, callbacks: Sequence[Any], clock: Callable[[], float], say: Say
) -> FitResult:
    """Train the phases that are left, from the last state on."""
    from keras_transfer.training import build
    from keras_transfer.training.phase_runner import Checkpointing, PhaseRunner
    from keras_transfer.training.state import newest_state

    config, run, group = events.config, events.run, setup.settings.group
    state = group.from_main(lambda: newest_state(run.state_file))
    file = run.state_file if group.is_main else None
    checkpointing = Checkpointing(file, Interval.parse(config.output.save_every), state, clock)
    board = build.tensorboard(config, run) if group.is_main else []
    return PhaseRunner(
        setup,
        callbacks=[*board, *callbacks],
        events=events,
        checkpointing=checkpointing,
        say=say,
        verbose=group.is_main,
    ).run()


def _measure(events: RunEvents, model: keras.Model, result: FitResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the best model in float32, as its file computes; return the metrics and the logits of each split."""
    from keras_transfer.config.open_data import evaluation_transform
    from keras_transfer.evaluation.decision import decision_metrics
    from keras_transfer.evaluation.evaluate import kept_splits, predict_logits
    from keras_transfer.evaluation.novelty import apart, novelty_metrics
    from keras_transfer.models.novelty import NOVELTY, joined
    from keras_transfer.models.precision import set_precision
    from keras_transfer.training import build
    from keras_transfer.training.rejection import calibrate

    set_precision(model, "float32")
    settings = events.config.data
    transform = evaluation_transform(settings)
    data = events.data

    def compute(part: keras.Model, split: Split) -> np.ndarray:
        return predict_logits(part, split, transform, settings.micro_batch_size, settings.workers)

    if events.config.reject_rate is not None:
        rate, made = events.config.reject_rate, (result.out_of_fold, result.outcomes)
        events.novelty = calibrate(model, data, rate, compute, *made)
    both = joined(model, {NOVELTY: events.novelty, "classes": data.classes})
    logits: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    kept = kept_splits(data)
    events.thresholds = build.thresholds_of(result.out_of_fold, data.train)
    for split in (data.val, data.test):
        if len(split):
            found, novelty = apart(compute(both, split), len(data.classes))
            if events.thresholds is None and split is data.val:
                events.thresholds = build.thresholds_of(found, split)
            metrics |= build.measure({split.name: found}, data, events.thresholds)
            if not data.is_multi:
                decided = build.decision_metadata(events.config, data.classes)
                metrics[split.name] |= decision_metrics(found, split.labels, decided)
            if novelty is not None:
                metrics[split.name][NOVELTY] = novelty_metrics(novelty, events.novelty["rate"])
            if split in kept:
                logits[split.name] = found
    if result.out_of_fold is not None:
        logits[OUT_OF_FOLD] = np.asarray(result.out_of_fold, np.float32)
        metrics |= build.measure({OUT_OF_FOLD: logits[OUT_OF_FOLD]}, data, events.thresholds)
        events.run.write_out_of_fold(result.out_of_fold, data.train.labels)
    temperatures = [outcome["temperature"] for outcome in result.outcomes if outcome.get("accepted", True)]
    more = {"temperature": temperatures[-1]} if temperatures else {}
    outcomes = [{key: value for key, value in one.items() if key != "residuals"} for one in result.outcomes]
    return {**metrics, **more, "best": result.best, "phases": result.phases, "outcomes": outcomes}, logits


def _keep(events: RunEvents, model: keras.Model, result: FitResult, metrics: dict[str, Any]) -> None:
    """Write the model with its golden batch, the plots, and last the metrics, whose file marks a finished run."""
    from keras_transfer.training import build

    run = events.run
    events.save(model, run.model, golden=True)
    if events.config.output.plots:
        build.draw_history(run, result)
        build.draw_confusion(run, metrics, events.data)
    run.update_manifest({"phases": result.phases})
    events.loggers.result(metrics)
    run.write_json(run.metrics, metrics)


def _report(run: RunDirectory, data: Dataset, model: keras.Model, logits: dict[str, Any], say: Say) -> None:
    began = time.perf_counter()
    try:
        from keras_transfer.report.write import write_report

        write_report(run, data, model, logits)
    except Exception as error:  # the model is complete without a report
        message = (
            f"there is no report ({type(error).__name__}: {error}); make it with: keras-transfer report {run.path}"
        )
        warnings.warn(message, stacklevel=3)
    else:
        say(f"report: {run.report} ({time.perf_counter() - began:.1f} s)")


def resume_run(path: str | Path) -> RunDirectory:
    """Open the unfinished run at ``path``; a run that stopped before its first save starts from the beginning.

    Raises:
        UserError: it is not a run, it is finished, or another process is training it.
    """
    run = RunDirectory.open(path)
    run.refuse_finished()
    if "network_of" in run.read_json(run.manifest):
        raise UserError(
            f"{run.path} has the network of another run and nothing to train: make it again, with another --output"
        )
    if is_follower():  # process 0 has the run
        return run
    with run.locked():  # report another process now, not after all preparations
        return run


def _seconds_before(run: RunDirectory, config: ResolvedConfig, say: Say) -> float:
    """Return the seconds that the run took in earlier processes, and print where it resumes."""
    from keras_transfer.training.phase_runner import phase_of
    from keras_transfer.training.state import newest_state

    state = newest_state(run.state_file)
    if state is None:
        return 0.0
    say(f"resuming {run.path} after {state} of phase {phase_of(state, config.phases).name}")
    return state.seconds


def _told(run: RunDirectory | None, config: RunConfig) -> set[str]:
    """Return the keys in which the caller's configuration differs from that of the run to resume."""
    if run is None:
        return set()
    return set(differences(run.read_config().model_dump(mode="json"), config.model_dump(mode="json")))


def _with_earlier_decisions(config: ResolvedConfig, run: RunDirectory | None, told: set[str]) -> ResolvedConfig:
    """Add the decisions of the run to resume, except for keys that the caller has set since."""
    if run is None:
        return config
    earlier = Decision.read(run.read_json(run.manifest).get("chosen", []))
    kept = tuple(one for one in earlier if not any(f"{key}.".startswith(f"{one.key}.") for key in told))
    return config.model_copy(update={"decisions": (*kept, *config.decisions)})


def _changes(run: RunDirectory | None, manifest: dict[str, Any], told: set[str], accept: bool) -> list[str]:
    """Return a line for each difference from the manifest of the run, and add them to the new one.

    Raises:
        UserError: some are neither set by the caller nor accepted.
    """
    if run is None:
        return []
    before = run.read_json(run.manifest)
    found = changes(before, manifest)
    if not accept:
        refuse([line for key, line in found.items() if key not in told], run.path)
    if "leaderboard" in before:
        manifest["leaderboard"] = before["leaderboard"]
    manifest["started"] = before.get("started", manifest["started"])
    manifest["changes"] = [*before.get("changes", []), *found.values()]
    return list(found.values())


def _manifest(prepared: Prepared, config: ResolvedConfig) -> dict[str, Any]:
    from keras_transfer.models.backbones import get

    data, machine = prepared.data, prepared.machine
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "backend": {"name": machine.backend.value, "why": machine.backend.why},
        "device": machine.device,
        "precision": {"name": machine.precision.value, "why": machine.precision.why},
        "seed": config.seed,
        "licence": get(config.model.backbone).licence,
        "data": {
            "fingerprint": data.fingerprint,
            "source": config.data.source,
            "classes": list(data.classes),
            "images": {split.name: len(split) for split in (data.train, data.val, data.test)},
            "skipped": [{"name": name, "reason": reason} for name, reason in data.skipped],
            **_unlabelled(data),
        },
        "chosen": decisions_as_json(config.decisions),
        **({"leaderboard": prepared.leaderboard.as_json()} if prepared.leaderboard else {}),
    }


def _unlabelled(data: Dataset) -> dict[str, Any]:
    """Return what the manifest says about images without labels."""
    more = data.unlabelled
    if more is None:
        return {}
    return {
        "unlabelled": {"images": len(more), "fingerprint": fingerprint(more.samples), "notes": list(more.samples.notes)}
    }
