"""Training a model through its phases with ``model.fit``: no files, no configuration objects needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_transfer.config.schema import CallbacksConfig, Phase
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.freeze import apply_train
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
        phases: name, epochs done, seconds, images/s, frozen and trainable parameter counts of each phase.
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
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_best: Callable[[keras.Model], None] | None = None,
    on_row: Callable[[list[dict[str, Any]]], None] | None = None,
    state_file: Path | None = None,
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
        callbacks: the caller's own Keras callbacks, used in every phase.
        save_best: writes the model after every improvement.
        on_row: called after every epoch with all history rows.
        state_file: where to keep the state for resuming.
        resume: the state to go on from.
        say: prints a line.
        verbose: whether to print phases and progress at all.

    Raises:
        UserError: a bad ``train`` pattern, a loss that is not finite.
        AuditError: a frozen variable moved, or a trainable one did not.
    """
    settings = settings or CallbacksConfig()
    result, best, history, progress = FitResult(), BestModel(settings.monitor, save_best), RunHistory(), Progress()
    history.on_row = (lambda _: on_row(history.rows)) if on_row else None
    if resume is not None:
        _remember(resume, result, best, history, model)
    first = 0 if resume is None else resume.phase + bool(resume.phase_done)
    for number, phase in enumerate(phases):
        if number < first:
            continue
        here = resume if resume is not None and resume.phase == number and not resume.phase_done else None
        counts = apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
        if verbose:
            say(f"phase {phase.name}: {counts}")
        compile_phase(model, phase, len(train), label_smoothing, weighted)
        if here is not None:
            assign(model.optimizer.variables, here.optimizer)
        for part in (best, history, progress):
            part.phase = phase.name
        history.train = progress.train = train
        watchers = [*_keras_callbacks(phase, settings), *callbacks]

        def fill(state: TrainingState, number: int = number) -> None:
            state.phase, state.phases, state.history = number, result.phases, history.rows
            state.iterations = [list(pair) for pair in history.iterations]
            state.best = {"score": best.best, "found": best.found}

        keeper = [StateKeeper(state_file, watchers, fill, here)] if state_file is not None else []
        done_before = here.epoch if here is not None else 0
        train.set_epoch(sum(p.epochs for p in phases[:number]) + done_before)
        audit = FreezeAudit()
        audit.snapshot(model)
        began = time.perf_counter()
        model.fit(
            train,
            validation_data=val,
            epochs=phase.epochs,
            initial_epoch=done_before,
            callbacks=[StopOnNaN(), best, *watchers, history, *([progress] if verbose else []), *keeper],
            verbose=0,
            shuffle=False,
        )
        audit.check(model)
        rows = [row for row in history.rows if row["phase"] == phase.name]
        result.phases.append(_phase_summary(phase, rows, time.perf_counter() - began, counts))
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


def _keras_callbacks(phase: Phase, settings: CallbacksConfig) -> list[keras.callbacks.Callback]:
    mode = {"val_loss": "min", "val_accuracy": "max"}[settings.monitor]
    found: list[keras.callbacks.Callback] = []
    if phase.schedule == "plateau":
        found.append(
            keras.callbacks.ReduceLROnPlateau(monitor=settings.monitor, mode=mode, **settings.reduce_lr.model_dump())
        )
    if settings.early_stopping is not None:
        found.append(
            keras.callbacks.EarlyStopping(monitor=settings.monitor, mode=mode, **settings.early_stopping.model_dump())
        )
    return found


def _remember(
    state: TrainingState, result: FitResult, best: BestModel, history: RunHistory, model: keras.Model
) -> None:
    """Take up a saved state; ``model`` holds the best weights so far (as read from the run's model file)."""
    result.phases = state.phases
    history.rows = state.history
    history.iterations = [(name, loss) for name, loss in state.iterations]
    if state.best.get("score") is not None:
        best.best, best.found = tuple(state.best["score"]), state.best["found"]
        best.weights = model.get_weights()
    assign(model.variables, state.model)  # dropout's random state too
    if state.phase_done:
        best.restore(model)


def _phase_summary(phase: Phase, rows: list[dict[str, Any]], seconds: float, counts: Any) -> dict[str, Any]:
    speeds = sorted(row["images_per_second"] for row in rows)
    return {
        "name": phase.name,
        "epochs": len(rows),
        "seconds": round(sum(row["seconds"] for row in rows) or seconds, 3),
        "images_per_second": round(speeds[len(speeds) // 2], 2) if speeds else None,
        "frozen_parameters": counts.frozen,
        "trainable_parameters": counts.trainable,
    }
