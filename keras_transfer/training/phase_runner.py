"""Train a model through its phases with ``model.fit``: read :meth:`PhaseRunner.run` and :meth:`PhaseRunner.train_phase`."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer import text
from keras_transfer.config.interval import Interval
from keras_transfer.config.resolved import ResolvedPhase
from keras_transfer.config.schema import CallbacksConfig, Phase
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.engine.features import upper_part
from keras_transfer.engine.native import install
from keras_transfer.errors import UserError
from keras_transfer.keras_compat import forget_strategy
from keras_transfer.models.adapters import attach, merge
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.freeze import TrainableCounts, apply_train
from keras_transfer.training.accumulate import part_size
from keras_transfer.training.across_phases import AcrossPhases, check_callbacks
from keras_transfer.training.average import AverageWeights
from keras_transfer.training.callbacks import AsValidation, BestModel, EveryEpoch, RunHistory, StopWhenAsked
from keras_transfer.training.core_callbacks import CoreCallbacks
from keras_transfer.training.events import TrainingEvents
from keras_transfer.training.exact import HeadPart, at_rest, head_part, solve_head
from keras_transfer.training.fit_result import FitResult, History
from keras_transfer.training.folded import SolvedBefore, train_in_folds
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.range_test import sweep
from keras_transfer.training.requirements import check_phases
from keras_transfer.training.setup import PhaseStart, TrainingSetup, begin_phase
from keras_transfer.training.state import StateKeeper, TrainingState, assign
from keras_transfer.training.stepping import stepping
from keras_transfer.training.stopping import StopRequest, stop_on_request
from keras_transfer.typing import Say

EVERY_TIME = Interval(0)
FIGURES_ONLY = ("mlflow.keras.callback", "wandb.integration.keras.callbacks.metrics_logger")


@dataclass(frozen=True)
class Checkpointing:
    """Where the state for resuming is stored, and the state to resume from.

    Attributes:
        file: the state file; None: no state is stored, or another process of the group stores it.
        every: interval between two writes of the state; an interval in seconds also applies to the best model.
        resume: the state to resume from.
        clock: returns the seconds of the run so far, which are stored with the state.
    """

    file: Path | None = None
    every: Interval = EVERY_TIME
    resume: TrainingState | None = None
    clock: Callable[[], float] = lambda: 0.0


@dataclass
class _PhaseRun:
    """A phase in progress: its number, the model that trains, its batches, the state it resumes from, the head if it
    is solved, and what stands for the figures of validation where there are no images."""

    number: int
    phase: ResolvedPhase
    start: PhaseStart
    model: keras.Model
    train: Batches
    val: Batches
    state: TrainingState | None
    audit: FreezeAudit
    part: HeadPart | None = None
    evidence: dict[str, Any] | None = None
    averages: list[AverageWeights] = field(default_factory=list)


class PhaseRunner:
    """Train a model phase by phase and leave it with the weights of the best epoch of all.

    Args:
        setup: model, batches and settings.
        callbacks: the caller's own Keras callbacks, used in every phase.
        events: receives what happens.
        checkpointing: where the state is stored, and the state to resume from.
        say: prints a line.
        verbose: whether to print phases and progress at all.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        events: TrainingEvents | None = None,
        checkpointing: Checkpointing | None = None,
        say: Say = text.say,
        verbose: bool = True,
    ):
        self.setup, self.settings, self.callbacks = setup, setup.settings, list(callbacks)
        self.events, self.checkpointing = events or TrainingEvents(), checkpointing or Checkpointing()
        self.verbose, self._say = verbose, say
        check_callbacks(self.callbacks)
        self.result = FitResult()
        self._out_of_fold: list[np.ndarray] = []  # of each of the outcomes
        self._begun = self.checkpointing.resume is not None  # whether the callbacks have written before
        best = BestModel(self.settings.callbacks.monitor, self.events.improved, self.checkpointing.every.seconds)
        self.core = CoreCallbacks(best, setup.model, self.events.epoch_ended, verbose)

    def run(self) -> FitResult:
        """Train through the remaining phases; see :meth:`train_phase`.

        Raises:
            UserError: a bad ``train`` pattern, a state of another model, a phase that needs validation images.
            LossNotFinite: the loss or a weight became infinite or NaN.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the state has been saved if there is a state file.
            AuditError: a frozen variable moved, or a trainable one did not.
        """
        check_phases(self.settings.phases, len(self.setup.val.loader.split))
        with self.settings.group.scope():
            result = self._run()
        forget_strategy(self.setup.model)
        return result

    def _run(self) -> FitResult:
        result, core = self.result, self.core
        if self.settings.label_smoothing:
            self.say(
                f"loss and val_loss include label smoothing of {self.settings.label_smoothing:g}; log-loss is without it"
            )
        state = self.checkpointing.resume
        first = 0 if state is None else self._take_up(state)
        try:
            for number, phase in enumerate(self.settings.phases[first:], first):
                self._expect(number)
                self.train_phase(number, phase, begins=number == first)
        finally:
            core.progress.close()
        result.history, result.iterations, result.best = (
            History(core.history.rows),
            core.history.iterations,
            core.best.found,
        )
        result.out_of_fold = self._best_out_of_fold()
        if self.verbose:
            core.progress.finish(result)
        return result

    def _expect(self, number: int, done: int = 0) -> None:
        """Tell the progress what is left after the present ``fit``, of phase ``number`` after ``done`` of its folds."""
        phase, images = self.settings.phases[number], len(self.setup.train.loader.split)
        after = self.settings.phases[number + 1 :]
        rest = 0.0
        if phase.folds and done < (rounds := phase.rounds or phase.folds):
            rest = phase.epochs * ((rounds - done - 1) * (1 - 1 / phase.folds) + phase.refit)
        self.core.progress.later = images * (rest + sum(each.passes for each in after))
        self.core.progress.more = any(each.passes for each in after)

    def train_phase(self, number: int, phase: ResolvedPhase, begins: bool) -> None:
        """Train one phase: a fresh start, ``model.fit``, and proof that it trained what it should and nothing else.

        Args:
            number: of the phase, from 0.
            phase: how it trains.
            begins: whether it is the first phase of this process.
        """
        audit = FreezeAudit()
        with begin_phase(self.setup, phase) as start:
            counts = start.counts
            adapters = f", adapters of rank {phase.lora}" if phase.lora else ""
            self.say(f"phase {phase.name}: {counts}{adapters}")
            audit.snapshot(self.setup.model)
            if not phase.folds:
                features_seconds = self._train(number, phase, start, audit, begins)
                # A head that is solved again is the same.
                audit.check(self.setup.model, may_rest=phase.solver == "exact")
            elif not self._resumes_in(number):
                if begins:
                    self.events.begun()
                    begins = False
                self._train_in_folds(number, phase, start, audit)
        if phase.folds:  # measure the outcome
            rest = at_rest(phase)
            with begin_phase(self.setup, rest) as start:
                features_seconds = self._train(number, rest, start, audit, begins)
            audit.check(self.setup.model, may_rest=True)  # within folds each training has been checked
        self.result.phases.append(_summary(phase, self.core.history.rows, counts, features_seconds))
        if self.verbose:
            self.core.progress.tell_waiting(self.result.phases[-1])
        self.core.best.restore(self.setup.model)  # the next phase starts from the best weights so far

    def _train(self, number: int, phase: ResolvedPhase, start: PhaseStart, audit: FreezeAudit, begins: bool) -> float:
        """Train the model through the epochs of a phase, and return the seconds that its features took."""
        began = time.perf_counter()
        work = self._prepare(number, phase, start, audit)
        features_seconds = time.perf_counter() - began
        if self.settings.native:
            install(work.model)
        first_epoch = self._first_epoch(number)
        work.train.set_epoch(first_epoch)  # a range test sees the same batches in a resumed run
        work.phase = self._with_rate(work)
        compile_phase(work.model, work.phase, len(self.setup.train), self.settings, factors=start.factors)
        self.core.begin(work.phase, work.train, first_epoch)
        work.averages = self._averages(work)
        if phase.solver == "exact" and work.part is not None and work.state is None:
            self._solve(work, work.part)
        if work.state is not None:
            self._restore(work, work.state)
        if begins:
            self.events.begun()
        if not len(self.setup.val.loader.split):
            work.evidence = self._evidence()
        self._fit(work)
        return features_seconds

    def _first_epoch(self, number: int) -> int:
        return sum(earlier.epochs for earlier in self.settings.phases[:number])

    def _resumes_in(self, number: int) -> bool:
        """Return whether the state to resume from is of this phase."""
        state = self.checkpointing.resume
        return state is not None and state.phase == number and not state.phase_done

    def say(self, line: str) -> None:
        """Print a line between the progress lines."""
        if self.verbose:
            self.core.progress.tell(line, self._say)

    def _take_up(self, state: TrainingState) -> int:
        """Restore a saved state and return the number of the phase to continue with."""
        model, phase = self.setup.model, phase_of(state, self.settings.phases)
        counts = apply_train(model, self.settings.backbone, phase.train, batch_norm=phase.batch_norm)
        if phase.lora is not None:
            counts = attach(model, phase.lora, phase.name)
        assign(model.variables, state.model)  # dropout's random state too
        self.core.recall(state)
        self.result.phases, self.result.outcomes, self._out_of_fold = state.phases, state.outcomes, state.out_of_fold
        if not state.phase_done:
            return state.phase
        merge(model)
        self.core.best.restore(model)
        self.result.phases.append(_summary(phase, self.core.history.rows, counts))
        return state.phase + 1

    def _prepare(self, number: int, phase: ResolvedPhase, start: PhaseStart, audit: FreezeAudit) -> _PhaseRun:
        """Find the model to train: only the part above frozen layers, on cached features, if their input never changes."""
        state = self.checkpointing.resume
        here = state if state is not None and state.phase == number else None
        model, val, features = self.setup.model, self.setup.val, self.settings.features
        foreign = (
            "" if _know_no_model(self.callbacks) else "a callback that is not Keras's own may need the whole model"
        )
        if phase.solver == "exact" or self.settings.phases[number].folds:
            part = head_part(model, start.images, val, features, self.say, self.setup.unlabelled)
            trained = (model, start.images, val) if foreign else (part.model, part.train, part.val)
            return _PhaseRun(number, at_rest(phase), start, *trained, here, audit, part)
        if start.model is not model:
            foreign = "the phase has an image size of its own"
        upper = upper_part(model, start.images, val, phase.epochs, features, self.say, foreign)
        trained = (upper.model, upper.train, upper.val) if upper else (start.model, start.images, val)
        return _PhaseRun(number, phase, start, *trained, here, audit)

    def _solve(self, work: _PhaseRun, part: HeadPart) -> None:
        """Give the head its optimal weights; the epoch that follows measures them."""
        began = time.perf_counter()
        solution = solve_head(part, work.phase.strength, self.settings.class_weights, self.settings.group)
        self.say(f"phase {work.phase.name}: {solution}")
        self.result.outcomes.append(solution.outcome(work.phase.name))
        self._out_of_fold.append(solution.out_of_fold())
        self.core.history.so_far = {"seconds": time.perf_counter() - began}

    def _train_in_folds(self, number: int, phase: ResolvedPhase, start: PhaseStart, audit: FreezeAudit) -> None:
        """Train a phase with folds; the epoch that follows measures what came of it."""
        histories: list[RunHistory] = []
        with self._stopping() as stop:

            def watch(train: Batches, title: str) -> list[keras.callbacks.Callback]:
                self._expect(number, len(histories))
                steps = stepping(self.settings, train, None, stop)
                found = self.core.within(phase, train, self._first_epoch(number), title)
                histories.extend(part for part in found if isinstance(part, RunHistory))
                return [*steps, *found, StopWhenAsked(stop)]

            outcome, logits = train_in_folds(self.setup, phase, start, self._solved_before(), audit, watch, self.say)
        for history in histories:
            self.core.history.iterations += history.iterations
        if outcome.accepted:
            self.core.best.best = (
                None  # the folds have decided, on the same images: finer than a comparison of two figures
            )
        self.result.outcomes.append(outcome.as_json(phase.name))
        self._out_of_fold.append(logits)
        self.core.history.so_far = {"seconds": outcome.seconds}

    def _solved_before(self) -> SolvedBefore | None:
        """Return how the head was solved last."""
        solved = [outcome for outcome in self.result.outcomes if outcome["solver"] == "exact"]
        if not solved:
            return None
        last = solved[-1]
        return SolvedBefore(last["strength"], last["temperature"], last.get("unlabelled", {}).get("accepted", False))

    def _evidence(self) -> dict[str, Any]:
        """Return the out-of-fold evidence of the weights that the model has: rejected ones are not in it."""
        kept: dict[str, Any] = [one for one in self.result.outcomes if one.get("accepted", True)][-1]["evidence"]
        return kept

    def _best_out_of_fold(self) -> np.ndarray | None:
        """Return the out-of-fold logits of the best model."""
        for outcome, logits in zip(self.result.outcomes, self._out_of_fold):
            if outcome["phase"] == self.core.best.found.get("phase") and len(logits):
                return logits
        return None

    def _with_rate(self, work: _PhaseRun) -> ResolvedPhase:
        """Return the phase with its learning rate; an interrupted phase keeps the rate it had."""
        phase = work.phase
        if phase.learning_rate != "auto":
            return phase
        if work.state is not None:
            rate = work.state.learning_rate
        else:
            found = sweep(work.model, phase, work.train, self.settings, work.start.factors)
            self.say(f"chosen: {found}")
            rate = found.suggestion
        self.events.rate_found(work.number, rate)
        return phase.model_copy(update={"learning_rate": rate})

    def _averages(self, work: _PhaseRun) -> list[AverageWeights]:
        phase = work.phase
        if phase.average == "none":
            return []
        self.say(f"phase {phase.name}: validated and kept are averages of the weights ({phase.average})")
        size, group = self._micro_batch_size, self.settings.group
        return [AverageWeights(phase.average, phase.ema_momentum, work.train, size, work.state, group)]

    @property
    def _micro_batch_size(self) -> int:
        return part_size(self.setup.train.loader.batch_size, self.settings.accumulate)

    def _restore(self, work: _PhaseRun, state: TrainingState) -> None:
        """Restore an interrupted phase."""
        optimizer = work.model.optimizer
        optimizer.build(work.model.trainable_variables)
        assign(optimizer.variables, state.optimizer)
        if (
            work.phase.rate != state.learning_rate
        ):  # changed since; without a schedule the rate is an optimizer variable
            for variable in optimizer.variables:
                if variable.name == "learning_rate":
                    variable.assign(work.phase.rate)
        work.audit.recall(state.audit)
        if state.batch:
            self.core.history.so_far = state.so_far

    def _fit(self, work: _PhaseRun) -> None:
        """Call ``model.fit`` with all callbacks, in the order in which they must be called."""
        model = self.setup.model
        schedule, begun = keras_callbacks(work.phase, self.settings.callbacks), self._begun or work.state is not None
        first_epoch, self._begun = self._first_epoch(work.number), True
        own = [AcrossPhases(each, model, first_epoch, begun, self.events.save) for each in self.callbacks]
        watchers = [*schedule, *self.callbacks]
        keeping = []
        if self.events.wants_every_epoch:
            keeping = [EveryEpoch(self.events.epoch_model, model, work.number + 1)]
        file, every = self.checkpointing.file, self.checkpointing.every
        with self._stopping() as stop:
            keeper = []
            if file is not None or self.settings.group.size > 1:  # all stop where one saves, and take up what it saved
                fill, epochs = self._filler(work), work.phase.epochs
                keeper = [StateKeeper(file, model, work.train, epochs, watchers, fill, every, stop, work.state)]
            judging = [] if work.evidence is None else [AsValidation(work.evidence)]
            val = work.val if work.evidence is None else None
            steps = stepping(self.settings, work.train, val, stop)
            callbacks = [*steps, *judging, *self.core.around([*schedule, *own]), *keeping, *work.averages, *keeper]
            fit_from(work.model, work.train, val, work.phase.epochs, callbacks, work.state)

    def _stopping(self) -> contextlib.AbstractContextManager[StopRequest]:
        """Turn signals into requests to stop, where what has been trained is kept, or others train with this process."""
        alone = self.settings.group.size == 1
        if self.checkpointing.file is None and alone:
            return contextlib.nullcontext(StopRequest())
        return stop_on_request(alone)

    def _filler(self, work: _PhaseRun) -> Callable[[TrainingState], None]:
        """Return a function that adds to a state what only the runner knows."""

        def fill(state: TrainingState) -> None:
            state.phase, state.learning_rate, state.phases = work.number, work.phase.rate, self.result.phases
            state.outcomes, state.out_of_fold = self.result.outcomes, self._out_of_fold
            state.audit, state.seconds = work.audit.memory(), self.checkpointing.clock()
            self.core.fill(state)
            for part in work.averages:
                part.fill(state)

        return fill


def phase_of(state: TrainingState, phases: Sequence[ResolvedPhase]) -> ResolvedPhase:
    """Return the phase of a state.

    Raises:
        UserError: there are fewer phases.
    """
    if state.phase >= len(phases):
        raise UserError(f"the saved state is in phase {state.phase + 1}, but there are only {len(phases)} phases")
    return phases[state.phase]


def fit_from(
    model: keras.Model,
    train: Batches,
    val: Batches | None,
    epochs: int,
    callbacks: list[keras.callbacks.Callback],
    state: TrainingState | None,
) -> None:
    """Call ``model.fit``, from a state on if there is one; an interrupted epoch is finished by a separate call."""

    def fit(first: int, end: int) -> None:
        model.fit(train, validation_data=val, epochs=end, initial_epoch=first, callbacks=callbacks, verbose=0,
                  shuffle=False)  # fmt: skip

    done = state.epoch if state is not None else 0
    if state is not None and state.batch and done < epochs:
        # Completed batches are counted by their images, because the batch size may have changed.
        train.first = min(int(state.so_far["images"]) // train.loader.batch_size, len(train.loader) - 1)
        fit(done, done + 1)
        train.first = 0
        done += 1
        if model.stop_training:
            return
    if done < epochs:
        fit(done, epochs)


def keras_callbacks(phase: Phase, settings: CallbacksConfig) -> list[keras.callbacks.Callback]:
    """Return Keras's ReduceLROnPlateau and EarlyStopping, as far as the schedule of the phase needs them."""
    mode = {"val_loss": "min", "val_accuracy": "max"}[settings.monitor]
    common = {"monitor": settings.monitor, "mode": mode}
    found: list[keras.callbacks.Callback] = []
    if phase.schedule == "plateau":
        found.append(keras.callbacks.ReduceLROnPlateau(**common, **dict(settings.reduce_lr)))
    if settings.early_stopping is not None and phase.schedule in ("plateau", "constant"):
        found.append(keras.callbacks.EarlyStopping(**common, **dict(settings.early_stopping)))
    return found


def _know_no_model(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Return whether all callbacks are Keras's own or only log metrics; others may call the complete model on images."""
    modules = [type(callback).__module__ for callback in callbacks]
    return all(module.split(".")[0] == "keras" or module in FIGURES_ONLY for module in modules)


def _summary(
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
