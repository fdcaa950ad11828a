"""The learning-rate range test: train at rates that grow from step to step, and see where the loss falls and where it breaks.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, https://arxiv.org/abs/1506.01186. A model of its
own over the same layers is trained, and their variables are put back: what the real model was compiled with is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_transfer.config.schema import Phase
from keras_transfer.data.loading.job import Batch
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.engine.native import install
from keras_transfer.errors import UserError
from keras_transfer.models.freeze import apply_train, kept_flags
from keras_transfer.training.accumulate import Accumulate, part_size
from keras_transfer.training.callbacks import RunHistory
from keras_transfer.training.group_rates import variable_factors
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.state import assign, values

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
# Times the lowest mean loss so far (fastai's figure), and times the first: nothing more to see from there on. Unless it is
# still below that of guessing: of a model that has learnt all, the loss may rise tenfold and mean little.
BROKEN, RISEN = 4.0, 2.0
RECENT = 5  # steps of that mean
LEARNT = 0.75  # below this part of the loss of guessing a model has learnt
SPARE = 3.0  # times below the rate of the lowest loss, or at which half of what was learnt is lost


@dataclass(frozen=True, repr=False)
class Sweep:
    """What a range test saw.

    Attributes:
        phase: name of the phase whose layers trained.
        rates: learning rate of each step, growing.
        losses: training loss of each step's batch, before the step.
        smoothed: the same without the noise of single batches.
        suggestion: the rate to begin with.
        why: how it was found.
        diverged: whether the loss broke away, which ended the sweep.
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

    def _repr_html_(self) -> str:
        from keras_transfer.notebook.views import of_sweep

        return of_sweep(self)


@dataclass(frozen=True)
class SweepSettings:
    """How a range test trains.

    Attributes:
        steps: most steps of a sweep.
        label_smoothing: of the loss.
        weighted: whether batches carry sample weights.
        accumulate: parts that every step is computed in.
        native: whether layers run by the native operations of `engine.native`.
        factors: of the rate, by ``id(variable)``; see :mod:`keras_transfer.training.group_rates`.
    """

    steps: int = STEPS
    label_smoothing: float = 0.0
    weighted: bool = False
    accumulate: int = 1
    native: bool = True
    factors: Mapping[int, float] = field(default_factory=dict)


def find_rates(
    model: keras.Model,
    backbone: str,
    phases: Sequence[Phase],
    train: Batches,
    settings: SweepSettings,
    say: Callable[[str], None] = print,
) -> list[Sweep]:
    """Sweep the rates of one phase after the other, and leave the model as it was.

    Between two sweeps the earlier phase trains for as many steps, at its suggestion: with a head that knows nothing, the
    rate of what lies below would be that of another problem.

    Args:
        model: a classifier.
        backbone: name of its backbone.
        phases: what is trained, with which optimizer.
        train: training batches.
        settings: of the sweeps.
        say: prints a line.

    Raises:
        UserError: a bad ``train`` pattern, a loss that is not a number.
    """
    found: list[Sweep] = []
    with unchanged(model):
        for number, phase in enumerate(phases):
            apply_train(model, backbone, phase.train, batch_norm=phase.batch_norm)
            grouped = replace(settings, factors=variable_factors(model, backbone, phase.group_decay))
            loader = None if phase.augment else train.loader.plain()
            with closing(loader) if loader is not None else nullcontext():
                batches = train if loader is None else Batches(loader)
                found.append(sweep(model, phase, batches, grouped))
                say(str(found[-1]))
                if number + 1 < len(phases):
                    _train(model, phase, found[-1].suggestion, batches, grouped, [])
    return found


def sweep(model: keras.Model, phase: Phase, train: Batches, settings: SweepSettings) -> Sweep:
    """Train ``model`` at growing rates, and leave every variable of it as it was.

    Args:
        model: ``trainable`` set as for the phase; may be the upper part of a classifier.
        phase: whose optimizer is used.
        train: its training batches, gone through as often as it takes.
        settings: of the sweep.

    Raises:
        UserError: the loss is not a number from the beginning.
    """
    growth = keras.optimizers.schedules.ExponentialDecay(LOWEST, settings.steps - 1, HIGHEST / LOWEST)
    guessing = math.log(max(2, model.output_shape[-1])) * train.loader.mean_weight
    watch = _Watch(guessing)
    with unchanged(model):
        _train(model, phase, growth, train, settings, [watch])
    losses = np.array([loss for _, loss in watch.iterations])
    rates = np.geomspace(LOWEST, HIGHEST, settings.steps)[: len(losses)]
    return _judge(phase.name, rates, losses, watch.diverged, guessing)


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
    settings: SweepSettings,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train for some steps at a rate or schedule; the model keeps its own optimizer and metrics."""
    twin = keras.Model(model.inputs, model.outputs)
    if settings.native:
        install(twin)
    compile_phase(twin, phase, settings.steps, settings.label_smoothing, settings.weighted, rate, settings.factors)
    if settings.accumulate > 1:
        callbacks = [Accumulate(part_size(train.loader.batch_size, settings.accumulate)), *callbacks]
    circle, epoch = _Circle(train, settings.steps), train.epoch
    for callback in callbacks:
        if isinstance(callback, _Watch):
            callback.train = circle
    try:
        twin.fit(circle, epochs=1, callbacks=callbacks, verbose=0, shuffle=False)
    finally:
        train.set_epoch(epoch)


class _Circle(Batches):
    """One long epoch: the epochs of what is trained on, one after the other."""

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
    """Note the loss of every step, and stop when it breaks away."""

    diverged = False

    def __init__(self, guessing: float):
        super().__init__()
        self.guessing = guessing

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the mean of the last losses: a single batch may be hard."""
        super().on_train_batch_end(batch, logs)
        losses = [loss for _, loss in self.iterations]
        if not math.isfinite(losses[-1]):
            self.iterations.pop()
            self.diverged = True
        elif len(losses) >= RECENT:
            means = np.convolve(losses, np.full(RECENT, 1 / RECENT), "valid")
            self.diverged = bool(means[-1] > max(BROKEN * means.min(), RISEN * means[0], self.guessing))
        self.model.stop_training = self.diverged


def _judge(phase: str, rates: np.ndarray, losses: np.ndarray, diverged: bool, guessing: float) -> Sweep:
    """Choose a rate: half way, by its logarithm, from where the loss falls fastest to where it is lowest, or a third of that.

    A model that has learnt already shows no such thing, or a small one at rates far too low: then well below where half of
    what it has learnt is lost. A smaller rise is that of a head that fits its old features too well, and it recovers.

    Args:
        guessing: the loss of a model that knows nothing.
    """
    if len(losses) < RECENT:
        raise UserError(
            f"phase {phase}: the loss is not a number at any learning rate from {LOWEST:g} up; try precision: float32"
        )
    smooth = smoothed(losses)
    # From the median, as the steps in which the loss breaks away are no noise; 1.48 makes it a standard deviation.
    noise = 1.48 * float(np.median(np.abs(losses - smooth))) + 1e-6 * abs(float(smooth[0]))
    lowest = int(smooth.argmin())
    risen = np.flatnonzero(smooth > smooth[0] + max(2 * noise, (guessing - smooth[0]) / 2))
    falls = lowest > 0 and smooth[0] - smooth[lowest] > noise
    learnt = smooth[0] <= LEARNT * guessing
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
    """Return a Gaussian mean over neighbouring steps, float64 (steps,): centred, so that nothing moves to higher rates."""
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps[None, :]) / width) ** 2)
    return weights @ losses / weights.sum(axis=1)
