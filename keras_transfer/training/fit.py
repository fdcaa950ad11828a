"""Training a model through its phases with ``model.fit``: no files, no configuration objects needed."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_transfer import formatting
from keras_transfer.config.interval import Interval
from keras_transfer.config.schema import CallbacksConfig, Phase
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.features import FeatureSettings, upper_part
from keras_transfer.engine.native import install
from keras_transfer.errors import UserError
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.freeze import TrainableCounts, apply_train
from keras_transfer.training.accumulate import Accumulate, part_size
from keras_transfer.training.average import AverageWeights
from keras_transfer.training.callbacks import BestModel, EveryEpoch
from keras_transfer.training.core_callbacks import CoreCallbacks
from keras_transfer.training.group_rates import variable_factors
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.range_test import STEPS, SweepSettings, sweep
from keras_transfer.training.state import StateKeeper, TrainingState, assign
from keras_transfer.training.stopping import StopRequest, stop_on_request

Say = Callable[[str], None]
ALWAYS = Interval(0)
FIGURES_ONLY = ("mlflow.keras.callback", "wandb.integration.keras.callbacks.metrics_logger")


@dataclass
class FitResult:
    """What training through the phases left behind.

    Attributes:
        history: a row an epoch (``callbacks.HISTORY_FIELDS``).
        iterations: (phase, loss) of every training step.
        phases: name, epochs done, their seconds, images/s, share of the time spent waiting for data, seconds of
            computing or finding features before the first epoch, frozen and trainable parameter counts of each phase.
        best: phase, epoch and monitored figure of the best model, whose weights the model now has.
        drawn_in: number of the notebook's cell that shows the live curves, which the same cell need not show again.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[tuple[str, float]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    drawn_in: int | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        spent = sum(phase["seconds"] + phase["features_seconds"] for phase in self.phases)
        text = f"{len(self.history)} epochs in {formatting.seconds(spent)}"
        if not self.best:
            return text
        name, value = next(item for item in self.best.items() if item[0] not in ("phase", "epoch"))
        return f"{text}, the best: epoch {self.best['epoch']} of phase {self.best['phase']}, {name} {value:.4f}"

    def __repr__(self) -> str:
        return f"FitResult({self})"


def fit_phases(
    model: keras.Model,
    backbone: str,
    phases: Sequence[Phase],
    train: Any,
    val: Any,
    *,
    settings: CallbacksConfig | None = None,
    label_smoothing: float = 0.0,
    weighted: bool = False,
    accumulate: int = 1,
    native: bool = True,
    features: FeatureSettings | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_best: Callable[[keras.Model], None] | None = None,
    save_epoch: Callable[[keras.Model, int, int], None] | None = None,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
    state_file: Path | None = None,
    save_every: Interval = ALWAYS,
    resume: TrainingState | None = None,
    on_begin: Callable[[], None] | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    on_rate: Callable[[int, float], None] | None = None,
    say: Say = print,
    verbose: bool = True,
) -> FitResult:
    """Train ``model`` phase by phase and leave it with the weights of the best epoch of all.

    Args:
        model: a classifier built by :func:`keras_transfer.models.classifier.build_classifier`; outputs logits.
        backbone: name of its backbone.
        phases: what is trained, in order; each phase starts from the best weights so far.
        train: training :class:`~keras_transfer.data.loading.keras_dataset.Batches` (uint8 images, one-hot labels).
        val: validation batches; the figure that they give chooses the best epoch.
        settings: monitor, ReduceLROnPlateau and EarlyStopping.
        label_smoothing: of the training loss and of ``val_loss``.
        weighted: whether batches carry sample weights, which then also weigh the metrics.
        accumulate: parts that every step is computed in, to save memory.
        native: whether layers run by the native operations of `engine.native`; same results, faster.
        features: how features of frozen layers are computed and kept; by default in memory, in float32.
        callbacks: the caller's own Keras callbacks, used in every phase.
        save_best: writes the model after every improvement.
        save_epoch: writes the model after every epoch; gets the numbers of phase and epoch, from 1.
        on_row: called after every epoch with all history rows.
        state_file: where to keep the state for resuming.
        save_every: between two writes of the state; a time also stands between two writes of the best model.
        resume: the state to go on from.
        on_begin: called once, when the state has been taken up without objection.
        clock: seconds of the run so far, kept with the state.
        on_rate: called with the number of a phase, from 0, and its learning rate, where that was ``auto`` and is found.
        say: prints a line.
        verbose: whether to print phases and progress at all.

    Raises:
        UserError: a bad ``train`` pattern, a state of another model.
        LossNotFinite: the loss or a weight became infinite or NaN.
        KeyboardInterrupt: Ctrl-C or SIGTERM; with a ``state_file``, the state has been saved.
        AuditError: a frozen variable moved, or a trainable one did not.
    """
    settings = settings or CallbacksConfig()
    result = FitResult()
    own = CoreCallbacks(BestModel(settings.monitor, save_best, save_every.seconds), model, on_row, verbose)
    tell = (lambda line: own.progress.tell(line, say)) if verbose else (lambda _: None)
    first = 0 if resume is None else _take_up(resume, result, own, model, backbone, phases)
    for number, phase in enumerate(phases[first:], first):
        here = resume if resume is not None and resume.phase == number else None
        # 1. What trains, and on what.
        counts = apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
        tell(f"phase {phase.name}: {counts}")
        images = train if phase.augment else Batches(train.loader.plain())
        began = time.perf_counter()
        trained, fit_train, fit_val = _what_trains(model, phase, images, val, features, callbacks, tell)
        features_seconds = time.perf_counter() - began
        if native:
            install(trained)
        factors = variable_factors(model, backbone, phase.group_decay)
        sweeping = SweepSettings(STEPS, label_smoothing, weighted, accumulate, native, factors)
        settled = _with_rate(phase, here, trained, fit_train, sweeping, tell)
        if settled is not phase and on_rate is not None:
            on_rate(number, settled.rate)
        phase = settled

        # 2. A fresh optimizer, fresh callbacks; in a phase that was broken off, they get back what they knew.
        compile_phase(trained, phase, len(train), label_smoothing, weighted, factors=factors)
        own.begin(phase, fit_train, first_epoch=sum(p.epochs for p in phases[:number]))
        watchers = [*_keras_callbacks(phase, settings), *callbacks]
        keeping = [EveryEpoch(save_epoch, model, number + 1)] if save_epoch else []
        micro_batch_size = part_size(train.loader.batch_size, accumulate)
        stepping = [Accumulate(micro_batch_size)] if accumulate > 1 else []
        averaging = _averaging(phase, fit_train, micro_batch_size, here)
        if averaging:
            tell(f"phase {phase.name}: validated and kept are averages of the weights ({phase.average})")
        audit = FreezeAudit()
        audit.snapshot(model)
        if here is not None:
            _restore(here, phase, trained, own, audit)
        if number == first and on_begin is not None:
            on_begin()

        def fill(
            state: TrainingState,
            number: int = number,
            phase: Phase = phase,
            audit: FreezeAudit = audit,
            averaging: list[AverageWeights] = averaging,
        ) -> None:
            state.phase, state.learning_rate, state.phases = number, phase.rate, result.phases
            state.audit, state.seconds = audit.memory(), clock()
            own.fill(state)
            for part in averaging:
                part.fill(state)

        # 3. model.fit, and proof that it trained what it should and nothing else.
        try:
            with stop_on_request() if state_file else contextlib.nullcontext(StopRequest()) as stop:
                keeper = (
                    [StateKeeper(state_file, model, fit_train, phase.epochs, watchers, fill, save_every, stop, here)]
                    if state_file is not None
                    else []
                )
                _fit(
                    trained,
                    fit_train,
                    fit_val,
                    phase.epochs,
                    [*stepping, *own.around(watchers), *keeping, *averaging, *keeper],
                    here,
                )
        finally:
            if images is not train:
                images.loader.close()
        audit.check(model)
        result.phases.append(_phase_summary(phase, own.history.rows, counts, features_seconds))
        if verbose:
            own.progress.tell_waiting(result.phases[-1])

        # 4. The next phase starts from the best weights so far.
        own.best.restore(model)
    result.history, result.iterations, result.best = own.history.rows, own.history.iterations, own.best.found
    if verbose:
        own.progress.finish(result)
    return result


def phase_of(state: TrainingState, phases: Sequence[Phase]) -> Phase:
    """Return the phase that a state is of.

    Raises:
        UserError: there are not so many.
    """
    if state.phase >= len(phases):
        raise UserError(f"the saved state is in phase {state.phase + 1}, but there are only {len(phases)} phases")
    return phases[state.phase]


def _take_up(
    state: TrainingState,
    result: FitResult,
    own: CoreCallbacks,
    model: keras.Model,
    backbone: str,
    phases: Sequence[Phase],
) -> int:
    """Take up a saved state and return the number of the phase to go on with."""
    phase = phase_of(state, phases)
    assign(model.variables, state.model)  # dropout's random state too
    own.recall(state)
    result.phases = state.phases
    if not state.phase_done:
        return state.phase
    own.best.restore(model)
    counts = apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
    result.phases.append(_phase_summary(phase, own.history.rows, counts))
    return state.phase + 1


def _with_rate(
    phase: Phase,
    state: TrainingState | None,
    trained: keras.Model,
    train: Batches,
    settings: SweepSettings,
    tell: Say,
) -> Phase:
    """Return the phase with a learning rate; one that was broken off keeps its own."""
    if phase.learning_rate != "auto":
        return phase
    if state is not None:
        return phase.model_copy(update={"learning_rate": state.learning_rate})
    found = sweep(trained, phase, train, settings)
    tell(f"chosen: {found}")
    return phase.model_copy(update={"learning_rate": found.suggestion})


def _averaging(
    phase: Phase, train: Batches, micro_batch_size: int, state: TrainingState | None
) -> list[AverageWeights]:
    if phase.average == "none":
        return []
    return [AverageWeights(phase.average, phase.ema_momentum, train, micro_batch_size, state)]


def _restore(state: TrainingState, phase: Phase, trained: keras.Model, own: CoreCallbacks, audit: FreezeAudit) -> None:
    """Put a phase that was broken off back to where it was."""
    trained.optimizer.build(trained.trainable_variables)
    assign(trained.optimizer.variables, state.optimizer)
    if phase.rate != state.learning_rate:  # told since; without a schedule it is one of the variables
        for variable in trained.optimizer.variables:
            if variable.name == "learning_rate":
                variable.assign(phase.rate)
    audit.recall(state.audit)
    if state.batch:
        own.history.so_far = state.so_far


def _fit(
    trained: keras.Model,
    train: Batches,
    val: Batches,
    epochs: int,
    callbacks: list[keras.callbacks.Callback],
    state: TrainingState | None,
) -> None:
    """Call ``model.fit``; an epoch that was broken off is finished by a call of its own."""

    def fit(first: int, end: int) -> None:
        trained.fit(train, validation_data=val, epochs=end, initial_epoch=first, callbacks=callbacks, verbose=0,
                    shuffle=False)  # fmt: skip

    done = state.epoch if state is not None else 0
    if state is not None and state.batch and done < epochs:
        train.first = _batches_done(state, train.loader)
        fit(done, done + 1)
        train.first = 0
        done += 1
        if trained.stop_training:
            return
    if done < epochs:
        fit(done, epochs)


def _batches_done(state: TrainingState, loader: Loader) -> int:
    """Return the batches of the broken epoch that are done: by their images, as the batch size may be another now."""
    return min(int(state.so_far["images"]) // loader.batch_size, len(loader) - 1)


def _what_trains(
    model: keras.Model,
    phase: Phase,
    train: Batches,
    val: Batches,
    features: FeatureSettings | None,
    callbacks: Sequence[keras.callbacks.Callback],
    tell: Say,
) -> tuple[keras.Model, Batches, Batches]:
    """Return the model to train with its training and validation batches.

    What is frozen and stays the same is computed once; what trains is then a smaller model of the same layers.
    """
    against = "" if _know_no_model(callbacks) else "a callback that is not Keras's own may need the whole model"
    upper = upper_part(model, train, val, phase.epochs, features or FeatureSettings(), tell, against)
    return (upper.model, upper.train, upper.val) if upper else (model, train, val)


def _know_no_model(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Say whether all callbacks are Keras's own or log figures: another one may want to call the whole model on images."""
    modules = [type(callback).__module__ for callback in callbacks]
    return all(module.split(".")[0] == "keras" or module in FIGURES_ONLY for module in modules)


def _keras_callbacks(phase: Phase, settings: CallbacksConfig) -> list[keras.callbacks.Callback]:
    mode = {"val_loss": "min", "val_accuracy": "max"}[settings.monitor]
    found: list[keras.callbacks.Callback] = []
    if phase.schedule == "plateau":
        found.append(
            keras.callbacks.ReduceLROnPlateau(monitor=settings.monitor, mode=mode, **settings.reduce_lr.model_dump())
        )
    if settings.early_stopping is not None and phase.schedule in ("plateau", "constant"):
        found.append(
            keras.callbacks.EarlyStopping(monitor=settings.monitor, mode=mode, **settings.early_stopping.model_dump())
        )
    return found


def _phase_summary(
    phase: Phase, history: list[dict[str, Any]], counts: TrainableCounts, features_seconds: float = 0.0
) -> dict[str, Any]:
    rows = [row for row in history if row["phase"] == phase.name]
    return {
        "name": phase.name,
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "images_per_second": round(statistics.median(row["images_per_second"] for row in rows), 2) if rows else None,
        "data_wait": round(statistics.fmean(row["data_wait"] for row in rows), 4) if rows else None,
        "features_seconds": round(features_seconds, 3),
        "frozen_parameters": counts.frozen,
        "trainable_parameters": counts.trainable,
    }
