"""The learning-rate range test: train with a rate that grows at every step, and watch where the loss falls and where it diverges.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, https://arxiv.org/abs/1506.01186. The test trains a second
``keras.Model`` over the same layers and restores their variables afterwards, so the real model keeps its optimizer and metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_transfer import text
from keras_transfer.config.schema import Phase
from keras_transfer.console import progress
from keras_transfer.data.loading.job import Batch
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.engine.native import install
from keras_transfer.errors import UserError
from keras_transfer.models.freeze import kept_flags
from keras_transfer.training.callbacks import RunHistory
from keras_transfer.training.exact import head_part, solve_head
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.setup import TrainingSettings, TrainingSetup, begin_phase
from keras_transfer.training.state import assign, values
from keras_transfer.training.stepping import stepping
from keras_transfer.typing import Say

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
# The sweep ends when the mean of the recent losses exceeds BROKEN times the lowest mean (fastai's factor), RISEN times the first one,
# and the chance level: the loss of a fully trained model may grow tenfold from near zero without diverging.
BROKEN, RISEN = 4.0, 2.0
RECENT = 5  # steps in that mean
LEARNT = 0.75  # a model counts as trained if its loss starts below this share of the chance level
SPARE = 3.0  # the suggestion stays this factor below the rate of the lowest loss, or the one that undoes half of the training


@dataclass(frozen=True, repr=False)
class Sweep:
    """Result of a range test.

    Attributes:
        phase: name of the phase whose layers trained.
        rates: learning rate of each step, growing.
        losses: training loss of each step's batch, before the step.
        smoothed: the losses, smoothed over neighbouring steps.
        suggestion: the learning rate to start with.
        why: how it was found.
        diverged: whether the loss diverged, which ended the sweep.
    """

    phase: str
    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float
    why: str
    diverged: bool

    def __str__(self) -> str:
        return f"phase {self.phase}: learning_rate {self.suggestion:g} ({self.why})"

    def __repr__(self) -> str:
        return f"Sweep({self})"


def find_rates(setup: TrainingSetup, steps: int = STEPS, say: Say = text.say) -> list[Sweep]:
    """Sweep the rates of one phase after the other, and leave the model as it was.

    Between two sweeps the earlier phase trains for as many steps, at its suggestion: below an untrained head, the best rate for
    the backbone would be that of another problem.

    Args:
        setup: model, training batches and phases.
        steps: most steps of a sweep.
        say: prints a line.

    Returns:
        A sweep a phase, without those that are solved.

    Raises:
        UserError: a bad ``train`` pattern, a loss that is not a number, only phases that are solved.
    """
    if all(phase.solver == "exact" for phase in setup.settings.phases):
        raise UserError("there is no learning rate to find: every phase has solver: exact")
    found: list[Sweep] = []
    model, settings = setup.model, setup.settings
    with settings.group.scope(), unchanged(model):
        for number, phase in enumerate(settings.phases):
            with begin_phase(setup, phase) as start:
                if phase.solver == "exact":
                    part = head_part(model, start.images, setup.val, settings.features, say, setup.unlabelled)
                    say(
                        f"phase {phase.name}: no learning rate to find; {solve_head(part, phase.strength, settings.class_weights, settings.group)}"
                    )
                    continue
                say(f"phase {phase.name}: range test of up to {steps} steps, at rates from {LOWEST:g} to {HIGHEST:g}")
                found.append(sweep(start.model, phase, start.images, settings, start.factors, steps))
                say(str(found[-1]))
                if number + 1 < len(settings.phases):
                    rate = found[-1].suggestion
                    _train(start.model, phase, rate, start.images, settings, start.factors, steps)
    return found


def sweep(
    model: keras.Model,
    phase: Phase,
    train: Batches,
    settings: TrainingSettings,
    factors: Mapping[int, float],
    steps: int = STEPS,
) -> Sweep:
    """Train ``model`` at growing rates, and leave every variable of it as it was.

    Args:
        model: ``trainable`` set as for the phase; may be the upper part of a classifier.
        phase: whose optimizer is used.
        train: its training batches, gone through as often as it takes.
        settings: of the training.
        factors: of the rate, by ``id(variable)``; see :mod:`keras_transfer.training.group_rates`.
        steps: most steps.

    Raises:
        UserError: the loss is not a number from the beginning.
    """
    growth = keras.optimizers.schedules.ExponentialDecay(LOWEST, steps - 1, HIGHEST / LOWEST)
    chance = math.log(max(2, model.output_shape[-1])) * train.loader.mean_weight
    watch = _Watch(chance)
    with unchanged(model), progress(f"range test of phase {phase.name}", steps) as watch.advance:
        _train(model, phase, growth, train, settings, factors, steps, watch)
    losses = np.array([loss for _, loss in watch.iterations])
    rates = np.geomspace(LOWEST, HIGHEST, steps)[: len(losses)]
    return _judge(phase.name, rates, losses, watch.diverged, chance)


@contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Put all variables of ``model`` back at the end, random state included, and what of it is trainable."""
    variables = model.variables
    before = values(variables)
    try:
        with kept_flags(model):
            yield
    finally:
        assign(variables, before)


def _train(
    model: keras.Model,
    phase: Phase,
    rate: Any,
    train: Batches,
    settings: TrainingSettings,
    factors: Mapping[int, float],
    steps: int,
    watch: _Watch | None = None,
) -> None:
    """Train for some steps at a rate or schedule; the model keeps its own optimizer and metrics."""
    trained = keras.Model(model.inputs, model.outputs)
    if settings.native:
        install(trained)
    compile_phase(trained, phase, steps, settings, rate, factors)
    cycle, epoch = _Cycle(train, steps), train.epoch
    callbacks = stepping(settings, cycle, None)
    if watch is not None:
        watch.train = cycle
        callbacks.append(watch)
    try:
        trained.fit(cycle, epochs=1, callbacks=callbacks, verbose=0, shuffle=False)
    finally:
        train.set_epoch(epoch)


class _Cycle(Batches):
    """One long epoch: consecutive epochs of the training batches."""

    def __init__(self, source: Batches, steps: int):
        super().__init__(source.loader)
        self.source, self.steps, self.start = source, steps, source.epoch

    def __len__(self) -> int:
        return self.steps

    def batch(self, number: int) -> Batch:
        """Batch `number` of the long epoch."""
        epoch, within = self._place(number)
        self.source.set_epoch(epoch)
        return self.source.batch(within)

    def batch_length(self, index: int) -> int:
        """Number of samples in a batch."""
        return len(self.loader.positions(*self._place(index)))

    def _place(self, number: int) -> tuple[int, int]:
        epochs, within = divmod(number, len(self.loader))
        return self.start + epochs, within


class _Watch(RunHistory):
    """Record the loss of every step, and stop when it diverges."""

    diverged = False

    def __init__(self, chance: float):
        super().__init__()
        self.advance: Callable[[int], None] = lambda steps: None
        self.chance = chance

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Judge by the mean of the recent losses: a single batch may be hard."""
        super().on_train_batch_end(batch, logs)
        self.advance(1)
        losses = [loss for _, loss in self.iterations]
        if not math.isfinite(losses[-1]):
            self.iterations.pop()
            self.diverged = True
        elif len(losses) >= RECENT:
            means = np.convolve(losses, np.full(RECENT, 1 / RECENT), "valid")
            self.diverged = bool(means[-1] > max(BROKEN * means.min(), RISEN * means[0], self.chance))
        self.model.stop_training = self.diverged


def _judge(phase: str, rates: np.ndarray, losses: np.ndarray, diverged: bool, chance: float) -> Sweep:
    """Choose a rate: the geometric mean of the rate of steepest descent and the rate of the lowest loss, or a third of the latter.

    The loss of a model that is already trained hardly falls. It gets a third of the rate at which half of its advantage over chance is
    lost; a smaller rise comes from a head that is fitted to the old features, and recovers.

    Args:
        chance: the loss of uniform predictions.
    """
    if len(losses) < RECENT:
        raise UserError(
            f"phase {phase}: the loss is not a number at any learning rate from {LOWEST:g} up; try precision: float32"
        )
    smooth = smoothed(losses)
    # Median absolute deviation, as the divergence at the end is no noise; 1.48 turns it into a standard deviation.
    noise = 1.48 * float(np.median(np.abs(losses - smooth))) + 1e-6 * abs(float(smooth[0]))
    lowest = int(smooth.argmin())
    risen = np.flatnonzero(smooth > smooth[0] + max(2 * noise, (chance - smooth[0]) / 2))
    falls = lowest > 0 and smooth[0] - smooth[lowest] > noise
    learnt = smooth[0] <= LEARNT * chance
    if falls and not learnt:
        slope = np.gradient(smooth, np.log(rates))[: lowest + 1]
        steepest, least = float(rates[slope.argmin()]), float(rates[lowest])
        rate = max(math.sqrt(steepest * least), least / SPARE)
        why = f"the loss falls fastest at {steepest:.1e}, is lowest at {least:.1e}"
    else:
        lost = float(rates[risen[0] if len(risen) else -1])
        rate = lost / SPARE
        why = f"{'what was learnt lasts' if learnt else 'the loss neither falls nor rises'} up to {lost:.1e}"
    rate = float(f"{rate:.1e}")  # two digits: more would be noise
    return Sweep(phase, rates.tolist(), losses.tolist(), smooth.tolist(), rate, why, diverged)


def smoothed(losses: np.ndarray, width: float = 3.0) -> np.ndarray:
    """Smooth with a centred Gaussian, which does not shift features to higher rates; float64 (steps,)."""
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps[None, :]) / width) ** 2)
    return np.asarray(weights @ losses / weights.sum(axis=1))
