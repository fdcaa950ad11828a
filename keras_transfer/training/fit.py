"""Training a model through its phases with ``model.fit``: no files, no configuration objects needed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_transfer.config.schema import CallbacksConfig, Phase
from keras_transfer.data.keras_dataset import Batches
from keras_transfer.engine.features import FeatureSettings, upper_part
from keras_transfer.engine.native import install
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.freeze import TrainableCounts, apply_train
from keras_transfer.training.accumulate import Accumulate, part_size
from keras_transfer.training.callbacks import BestModel, RunHistory, StopOnNaN
from keras_transfer.training.optimizer import make_optimizer
from keras_transfer.training.progress import Progress
from keras_transfer.training.state import StateKeeper, TrainingState, assign

Say = Callable[[str], None]


@dataclass
class FitResult:
    """What training through the phases left behind.

    Attributes:
        history: a row an epoch (``callbacks.HISTORY_FIELDS``).
        iterations: (phase, loss) of every training step.
        phases: name, epochs done, seconds, images/s, share of the time spent waiting for data, frozen and trainable
            parameter counts of each phase.
        best: phase, epoch and monitored figure of the best model, whose weights the model now has.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    iterations: list[tuple[str, float]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)


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
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
    state_file: Path | None = None,
    save_every: float = 0.0,
    resume: TrainingState | None = None,
    say: Say = print,
    verbose: bool = True,
) -> FitResult:
    """Train ``model`` phase by phase and leave it with the weights of the best epoch of all.

    Args:
        model: a classifier built by :func:`keras_transfer.models.classifier.build_classifier`; outputs logits.
        backbone: name of its backbone.
        phases: what is trained, in order; each phase starts from the best weights so far.
        train: training :class:`~keras_transfer.data.keras_dataset.Batches` (uint8 images, one-hot labels).
        val: validation batches; the figure that they give chooses the best epoch.
        settings: monitor, ReduceLROnPlateau and EarlyStopping.
        label_smoothing: of the training loss and of ``val_loss``.
        weighted: whether batches carry sample weights, which then also weigh the metrics.
        accumulate: parts that every step is computed in, to save memory.
        native: whether layers run by the native operations of `engine.native`; same results, faster.
        features: how features of frozen layers are computed and kept; by default in memory, in float32.
        callbacks: the caller's own Keras callbacks, used in every phase.
        save_best: writes the model after every improvement.
        on_row: called after every epoch with all history rows.
        state_file: where to keep the state for resuming.
        save_every: seconds between two writes of the state, and of the best model, at least.
        resume: the state to go on from.
        say: prints a line.
        verbose: whether to print phases and progress at all.

    Raises:
        UserError: a bad ``train`` pattern, a loss that is not finite.
        AuditError: a frozen variable moved, or a trainable one did not.
    """
    settings = settings or CallbacksConfig()
    tell = say if verbose else (lambda _: None)
    result, best, history, progress = (
        FitResult(),
        BestModel(settings.monitor, save_best, save_every),
        RunHistory(),
        Progress(),
    )
    history.on_row = (lambda _: on_row(history.rows)) if on_row else None
    if resume is not None:
        _remember(resume, result, best, history, model)
    first = 0 if resume is None else resume.phase + bool(resume.phase_done)
    best.whole = model
    for number, phase in enumerate(phases):
        if number < first:
            if number == len(result.phases):  # it was saved just before its summary was made
                counts = apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
                result.phases.append(_phase_summary(phase, history.rows, counts))
            continue
        here = resume if resume is not None and resume.phase == number and not resume.phase_done else None
        counts = apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
        tell(f"phase {phase.name}: {counts}")
        pictures = train if phase.augment else Batches(train.loader.plain())
        # What is frozen and stays the same is computed once; what trains is then a smaller model of the same layers.
        against = "" if _know_no_model(callbacks) else "a callback that is not Keras's own may need the whole model"
        upper = upper_part(model, pictures, val, phase.epochs, features or FeatureSettings(), tell, against)
        trained, fit_train, fit_val = (upper.model, upper.train, upper.val) if upper else (model, pictures, val)
        if native:
            install(trained)
        compile_phase(trained, phase, len(train), label_smoothing, weighted)
        if here is not None:
            trained.optimizer.build(trained.trainable_variables)
            assign(trained.optimizer.variables, here.optimizer)
        for part in (best, history, progress):
            part.phase = phase.name
        history.train = progress.train = fit_train
        watchers = [*_keras_callbacks(phase, settings), *callbacks]
        stepping = [Accumulate(part_size(train.loader.batch_size, accumulate))] if accumulate > 1 else []

        def fill(state: TrainingState, number: int = number) -> None:
            state.phase, state.phases, state.history = number, result.phases, history.rows
            state.iterations = [list(pair) for pair in history.iterations]
            state.best, state.best_weights = {"score": best.best, "found": best.found}, best.weights or []

        keeper = [StateKeeper(state_file, model, watchers, fill, save_every, here)] if state_file is not None else []
        done_before = here.epoch if here is not None else 0
        history.first_epoch = sum(p.epochs for p in phases[:number])
        audit = FreezeAudit()
        audit.snapshot(model)
        try:
            trained.fit(
                fit_train,
                validation_data=fit_val,
                epochs=phase.epochs,
                initial_epoch=done_before,
                callbacks=[*stepping, StopOnNaN(), best, *watchers, history, *([progress] if verbose else []), *keeper],
                verbose=0,
                shuffle=False,
            )
        finally:
            if pictures is not train:
                pictures.loader.close()
        audit.check(model)
        result.phases.append(_phase_summary(phase, history.rows, counts))
        if verbose:
            progress.tell_waiting(result.phases[-1])
        best.restore(model)
    result.history, result.iterations, result.best = history.rows, history.iterations, best.found
    return result


def compile_phase(model: keras.Model, phase: Phase, steps: int, label_smoothing: float, weighted: bool) -> None:
    """Compile ``model`` for a phase: fresh optimizer, cross-entropy on logits, accuracy."""
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    model.compile(
        optimizer=make_optimizer(phase, steps, model),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing),
        metrics=None if weighted else [accuracy],
        weighted_metrics=[accuracy] if weighted else None,
        # On torch, compiled steps are slower than eager ones; elsewhere Keras chooses.
        jit_compile=False if keras.backend.backend() == "torch" else "auto",
    )


def _know_no_model(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Say whether all callbacks are Keras's own: another one may want to call the whole model on pictures."""
    return all(type(callback).__module__.split(".")[0] == "keras" for callback in callbacks)


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


def _remember(
    state: TrainingState, result: FitResult, best: BestModel, history: RunHistory, model: keras.Model
) -> None:
    """Take up a saved state."""
    result.phases = state.phases
    history.rows = state.history
    history.iterations = [(name, loss) for name, loss in state.iterations]
    if state.best.get("score") is not None:
        best.best, best.found = tuple(state.best["score"]), state.best["found"]
        best.weights, best._unsaved = state.best_weights, True
    assign(model.variables, state.model)  # dropout's random state too
    if state.phase_done:
        best.restore(model)


def _phase_summary(phase: Phase, history: list[dict[str, Any]], counts: TrainableCounts) -> dict[str, Any]:
    rows = [row for row in history if row["phase"] == phase.name]
    return {
        "name": phase.name,
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "images_per_second": round(statistics.median(row["images_per_second"] for row in rows), 2) if rows else None,
        "data_wait": round(statistics.fmean(row["data_wait"] for row in rows), 4) if rows else None,
        "frozen_parameters": counts.frozen,
        "trainable_parameters": counts.trainable,
    }
