"""A whole training run, from a configuration to a run directory. Read :func:`train` from top to bottom."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from keras_transfer import runtime
from keras_transfer.config.interval import Interval
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training.changes import changes, differences, refuse

Say = Callable[[str], None]
# Keys of `data` that are about batches and features, not about where images are.
NOT_OF_SOURCES = {"source", "options", "batch_size", "accumulate", "class_weights", "augment", "workers", "cache", "cache_limit", "cache_precision",
                  "views"}  # fmt: skip


def train(
    config: RunConfig,
    *,
    backend: str | None = None,
    device: str | None = None,
    resume: RunDirectory | None = None,
    accept_changes: bool = False,
    callbacks: Sequence[Any] = (),
    say: Say = print,
) -> RunDirectory:
    """Train, choose the best model by validation, measure it once on the test set and keep everything.

    Args:
        config: what to do; ``auto`` values are chosen from the data and kept in the run's ``config.yaml``.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.
        resume: an unfinished run to go on with, instead of making a new one from ``config``, which is the run's own or a
            changed copy of it: what differs is told, and kept with the run.
        accept_changes: go on with a run although its files, versions or data are not as they were.
        callbacks: the caller's own Keras callbacks.
        say: prints a line.

    Returns:
        The finished run directory.

    Raises:
        UserError: anything that the user can mend; nothing is left behind unless training had begun.
        Interrupted: Ctrl-C or SIGTERM; the state is kept for resuming.
    """
    began = time.perf_counter()
    # 1. Runtime: the backend is settled before anything imports Keras.
    if resume is None:
        RunDirectory.refuse_existing(config.output.dir)
    told = _told(resume, config)
    choice = runtime.choose_backend(backend, config.backend)
    say(f"backend: {choice}")

    # 2. Data: found, checked and split without any framework.
    data = open_data(config)
    if not len(data.val):
        raise UserError("there are no validation images to choose the best model by; set data.val_fraction above 0")
    runtime.activate(choice.value, device or config.device, config.deterministic)
    runtime.hide_progress_bars()

    from keras_transfer.models.precision import set_precision
    from keras_transfer.policy.resolve import resolve
    from keras_transfer.training import build
    from keras_transfer.training.faults import free_memory, is_out_of_memory
    from keras_transfer.training.fit import phase_of
    from keras_transfer.training.loggers import Loggers
    from keras_transfer.training.state import newest_state

    # 3. Everything that was "auto" gets a value, said aloud; so does what changed since an unfinished run was started.
    config, choices = resolve(config, data)
    chosen_before = _chosen_before(resume, told)
    precision = runtime.choose_precision(config.precision, runtime.device_in_use(), config.model.native)
    chosen: dict[str, Any] = {"backend": choice.value, "device": runtime.device_in_use(), "precision": precision.value}
    frozen = runtime.choose_feature_precision(
        config.data.cache_precision, config.precision, precision.value, runtime.device_in_use()
    )
    chosen["data"] = config.data.model_copy(update={"cache_precision": frozen.value})
    config = config.model_copy(update=chosen)
    say(f"device: {config.device}; precision: {precision}; of cached features: {frozen}")
    say(data.summary())
    for line in choices:
        say(f"chosen: {line}")
    manifest = _manifest(config, data, choice, precision) | {"chosen": [*chosen_before, *choices]}
    changed = _changes(resume, manifest, told, accept_changes)
    for line in changed:
        say(f"changed: {line}")

    # 4. The batches, and the model from pretrained weights; whatever is wrong with either shows here.
    model, batches = _prepare(config, data)
    build.check_phases(config, model)
    loggers = Loggers(config, say)
    for line in build.network_notes(config):
        say(line)
    say(f"groups: {build.group_shapes(model, config.model.backbone)}")

    # 5. The run directory, for this process alone: from here on there is something to keep.
    run = resume or RunDirectory.create(config.output.dir, config.name)
    with run.locked(), loggers, _stops_explained(run, config):
        if resume is None:
            run.start(config, data.split_table(), manifest)
        else:
            run.refuse_finished()
        state = newest_state(run.state_file)
        if state is not None:
            began -= state.seconds
            say(f"resuming {run.path} after {state} of phase {phase_of(state, config.phases).name}")  # type: ignore[arg-type]
        loggers.begin(run, config)

        # 6. The phases, through model.fit; from the last state on in smaller parts, if memory runs out and we chose the batch.
        while True:
            try:
                result = _fit(
                    config, data, run, model, batches, callbacks, loggers, state, manifest, bool(changed), began, say
                )
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                may_shrink = any(line.startswith("data.batch_size = ") for line in manifest["chosen"])
                config = build.in_smaller_parts(config, may_shrink, error)
            smaller = f"data.accumulate = {config.data.accumulate}"
            say(f"out of memory: {build.micro_batch_size(config)} images at once from here on ({smaller})")
            manifest["config"] = config.model_dump(mode="json")
            run.change(config, data.split_table(), manifest)
            del model, batches
            free_memory()
            model, batches = _prepare(config, data)
            state = newest_state(run.state_file)
        if config.output.plots:
            build.draw_history(run, result)

        # 7. The best model by validation, as its file computes (in float32), measured once on the test set, and kept with its
        # golden batch.
        set_precision(model, "float32")
        logits = build.predict(model, config, data)
        metrics = build.measure(logits, data)
        build.save_model(model, config, data, run.model, golden=True)
        metrics["best"] = result.best
        metrics["phases"] = result.phases
        metrics["seconds"] = round(time.perf_counter() - began, 3)
        if config.output.plots:
            build.draw_confusion(run, metrics, data)
        run.update_manifest({"phases": result.phases})
        loggers.result(metrics)
        run.write_json(run.metrics, metrics)
    say(build.verdict(metrics))

    # 8. The report, from what is at hand; the run is finished and kept without it, too.
    if config.output.report:
        _report(run, data, model, logits, say)
    return run


def _report(run: RunDirectory, data: Dataset, model: Any, logits: dict[str, Any], say: Say) -> None:
    began = time.perf_counter()
    try:
        from keras_transfer.report.write import write_report

        write_report(run, data, model, logits)
    except Exception as error:  # whatever is wrong with it, the model is not
        message = (
            f"there is no report ({type(error).__name__}: {error}); make it with: keras-transfer report {run.path}"
        )
        warnings.warn(message, stacklevel=3)
    else:
        say(f"report: {run.report} ({time.perf_counter() - began:.1f} s)")


def _prepare(config: RunConfig, data: Dataset) -> tuple[Any, Any]:
    """Return the model as training finds it, and the batches."""
    from keras_transfer.training import build

    runtime.set_seed(config.seed)
    return build.make_model(config, data, config.precision), build.make_batches(config, data)


def _fit(
    config: RunConfig,
    data: Dataset,
    run: RunDirectory,
    model: Any,
    batches: Any,
    callbacks: Sequence[Any],
    loggers: Any,
    state: Any,
    manifest: dict[str, Any],
    changed: bool,
    began: float,
    say: Say,
) -> Any:
    """Run the phases and close the batches; returns the :class:`~keras_transfer.training.fit.FitResult`.

    ``changed``: whether the run is gone on with otherwise than before; its manifest is kept once that has begun.
    ``began``: when the run did, by ``time.perf_counter``, as if it had never been interrupted.
    """
    from keras_transfer.training import build
    from keras_transfer.training.fit import fit_phases

    def keep() -> None:
        run.change(config, data.split_table(), manifest)

    def keep_rate(number: int, rate: float) -> None:
        phases: Any = config.phases
        phases[number].learning_rate = rate
        manifest["config"] = config.model_dump(mode="json")
        manifest["chosen"].append(f"phases.{number}.learning_rate = {rate:g} (by a range test)")
        keep()

    def keep_rows(rows: list[dict[str, Any]]) -> None:
        run.write_history(rows)
        loggers.log(rows)

    with contextlib.closing(batches):
        return fit_phases(
            model,
            config.model.backbone,
            config.phases,  # type: ignore[arg-type]
            batches.train,
            batches.val,
            settings=config.callbacks,
            label_smoothing=config.model.label_smoothing,
            weighted=data.train.weights is not None,
            accumulate=config.data.accumulate,
            native=config.model.native,
            features=build.feature_settings(config.data, config.model.native),
            callbacks=[*build.tensorboard(config, run), *callbacks],
            save_best=lambda best: build.save_model(best, config, data, run.model),
            save_epoch=build.save_epoch(config, data, run),
            on_row=keep_rows,
            state_file=run.state_file,
            save_every=Interval.parse(config.output.save_every),
            resume=state,
            on_begin=keep if changed else None,
            on_rate=keep_rate,
            clock=lambda: time.perf_counter() - began,
            say=say,
        )


def open_data(config: RunConfig) -> Dataset:
    """Read, check and split the configured data (no framework needed)."""
    from keras_transfer import data

    options = config.data.model_dump(exclude=NOT_OF_SOURCES)
    if options["image_size"] == "auto":
        options["image_size"] = None
    return data.build(config.data.source, **{"seed": config.seed, **options, **config.data.options})


def resume_run(path: str | Path) -> RunDirectory:
    """Open the unfinished run at ``path``; one that stopped before its first save starts anew.

    Raises:
        UserError: it is no run, it is finished, or another process is at it.
    """
    run = RunDirectory.open(path)
    run.refuse_finished()
    with run.locked():  # says now what would else be said after all the preparations
        return run


def _told(run: RunDirectory | None, config: RunConfig) -> set[str]:
    """Return the keys in which the caller's configuration differs from that of the run to go on with."""
    if run is None:
        return set()
    return set(differences(run.read_config().model_dump(mode="json"), config.model_dump(mode="json")))


def _chosen_before(run: RunDirectory | None, told: set[str]) -> list[str]:
    """Return what the program chose when the run to go on with was started, but for what the caller told it since."""
    if run is None:
        return []
    lines = run.read_json(run.manifest).get("chosen", [])
    return [line for line in lines if line.split(" = ")[0] not in told]


def _changes(run: RunDirectory | None, manifest: dict[str, Any], told: set[str], accept: bool) -> list[str]:
    """Return a line for each difference from the run's own manifest, and add them to the new one.

    Raises:
        UserError: some were neither told nor accepted.
    """
    if run is None:
        return []
    before = run.read_json(run.manifest)
    found = changes(before, manifest)
    if not accept:
        refuse([line for key, line in found.items() if key not in told], run.path)
    manifest["started"] = before.get("started", manifest["started"])
    manifest["changes"] = [*before.get("changes", []), *found.values()]
    return list(found.values())


@contextlib.contextmanager
def _stops_explained(run: RunDirectory, config: RunConfig) -> Iterator[None]:
    """Say how to go on with what stops in the block: interrupted, with a loss that is not finite, not deterministic."""
    from keras_transfer.training.callbacks import LossNotFinite
    from keras_transfer.training.faults import is_not_deterministic, not_deterministic
    from keras_transfer.training.state import forget_unproven

    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(str(run.path)) from stop
    except LossNotFinite as trouble:
        run.write_json(run.bad_batch, trouble.where)
        forget_unproven(run.state_file)
        phases: Any = config.phases
        number = [phase.name for phase in phases].index(trouble.where["phase"])
        raise UserError(
            f"{trouble}\nthe images of the batch are listed in {run.bad_batch}; the best model is kept; go on from the last "
            f"epoch that ended well with: keras-transfer train --resume --output {run.path} "
            f"--set phases.{number}.learning_rate={phases[number].learning_rate / 10:g}"
        ) from trouble
    except Exception as error:
        if config.deterministic and is_not_deterministic(error):
            raise not_deterministic(error) from error
        raise


def _manifest(config: RunConfig, data: Dataset, backend: runtime.Choice, precision: runtime.Choice) -> dict[str, Any]:
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "backend": {"name": backend.value, "why": backend.why},
        "device": config.device,
        "precision": {"name": precision.value, "why": precision.why},
        "seed": config.seed,
        "data": {
            "fingerprint": data.fingerprint,
            "source": config.data.source,
            "classes": list(data.classes),
            "images": {split.name: len(split) for split in (data.train, data.val, data.test)},
            "skipped": [{"name": name, "reason": reason} for name, reason in data.skipped],
        },
    }
