"""Fine-tuning that has to earn its place: trained without each fold of the images in turn, and judged on what it has not seen.

Read :func:`train_in_folds` from top to bottom. Each training begins at the weights that the model has, but with a head that was solved
without the held-out images, so that both the beginning and the end are judged honestly. Weights on the line between the two are judged
as well, and often best (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, https://arxiv.org/abs/2109.01903). What is
kept is the mean over the folds (Wortsman et al., "Model soups", ICML 2022, https://arxiv.org/abs/2203.05482): together they have seen all
images, so nothing has to be trained again. Where only some of the folds are left out, which is cheaper, one more training on all images
can take the place of the mean (``refit``). If the validation images are given, there is one training, and they judge it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_transfer.config.resolved import ResolvedPhase
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.engine.features import upper_part
from keras_transfer.engine.native import install
from keras_transfer.engine.numbers import unpack
from keras_transfer.models.audit import FreezeAudit
from keras_transfer.models.novelty import FEATURES, features_model
from keras_transfer.solved.evidence import Evidence, difference, losses, measure
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.novelty import Subspace
from keras_transfer.solved.self_training import Beside
from keras_transfer.solved.solvers import solver_for
from keras_transfer.solved.temperature import fit_temperature
from keras_transfer.training.accumulate import part_size
from keras_transfer.training.exact import head_part, loss_weights
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.setup import PhaseStart, TrainingSetup
from keras_transfer.typing import Say

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the way from the weights before training to those after it."""

Watch = Callable[[Batches, str], list[keras.callbacks.Callback]]
"""Returns the callbacks of one training, given its batches and its title."""


@dataclass(frozen=True)
class FoldedOutcome:
    """What came of a phase with folds.

    Attributes:
        alpha: the best share of the way from the weights before training to those after it, above 0.
        temperature: by which the model's logits at ``alpha`` are divided: what calibrates those of the held-out images, relative to what
            calibrates those of the model before. The heads of the folds are solved on fewer images and so too certain, which the model is not.
            With validation images, what calibrates theirs.
        evidence_start: of the model before, with heads that were solved without the images that judge.
        evidence: of the model at ``alpha``.
        accepted: whether its log-loss is lower: what is fine-tuned costs no more at prediction, so nothing speaks for the weights before
            but their evidence. Otherwise, they stay.
        seconds: that all of it took.
        folds: number of trainings.
        residuals: for novelty (:mod:`keras_transfer.solved.novelty`): of each training image by the training without it, None where there
            was none; empty if it was not asked for.
    """

    alpha: float
    temperature: float
    evidence_start: Evidence
    evidence: Evidence
    accepted: bool
    seconds: float
    folds: int
    residuals: tuple[float | None, ...] = ()

    def as_json(self, phase: str) -> dict[str, Any]:
        """Return it for :attr:`FitResult.outcomes`, with the name of the phase."""
        found = {"phase": phase, "solver": "gradient", **asdict(self)}
        return found if self.residuals else {key: value for key, value in found.items() if key != "residuals"}

    def __str__(self) -> str:
        verdict = "accepted" if self.accepted else "rejected, the weights stay as they were"
        return (
            f"fine-tuning {verdict}: log-loss {self.evidence_start.log_loss:.4f} -> {self.evidence.log_loss:.4f}, accuracy "
            f"{self.evidence_start.accuracy:.4f} -> {self.evidence.accuracy:.4f} on {self.evidence.n} held-out images, "
            f"alpha {self.alpha:g}, temperature {self.temperature:.2f}, {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class SolvedBefore:
    """How the phase before solved the head.

    Attributes:
        strength: of the regularization.
        temperature: by which the head was divided.
        unlabelled: whether images without labels were used.
    """

    strength: float
    temperature: float
    unlabelled: bool = False


@dataclass(frozen=True)
class Judgement:
    """The weights on the line from beginning to end, compared on the same images.

    Attributes:
        best: number of the best share in :data:`ALPHAS`, not 0.
        logits: calibrated, float64 (A, n, C).
        temperatures: that they were divided by.
        gain: log-loss at share 0 minus that at the best share.
        error: standard error of the gain.
    """

    best: int
    logits: np.ndarray
    temperatures: list[float]
    gain: float
    error: float


@dataclass(frozen=True)
class _Fold:
    """A training: its batches, those that judge it with their positions, and the head that it begins with, if not the model's,
    with its logits for the images that judge."""

    train: Batches
    judged: Batches
    positions: np.ndarray
    head: SolvedHead | None
    logits: np.ndarray | None = None


@dataclass(frozen=True)
class _Folds:
    """All trainings of a phase: the model that trains, on what; ``labels`` and ``weights`` are of the images that judge."""

    model: keras.Model
    train: Batches
    folds: list[_Fold]
    labels: np.ndarray
    weights: np.ndarray | None
    judging: Batches


def train_in_folds(  # longer than others: the whole procedure in one place
    setup: TrainingSetup,
    phase: ResolvedPhase,
    start: PhaseStart,
    before: SolvedBefore | None,
    audit: FreezeAudit,
    watch: Watch,
    say: Say,
) -> tuple[FoldedOutcome, np.ndarray]:
    """Train once per fold, or without as many of them as ``rounds`` says, judge, and leave the model with the mean of the trainings, or as it was.

    Args:
        setup: model, batches and settings.
        phase: with ``folds``.
        start: the opened phase.
        before: how the phase before solved the head; needed without validation images.
        audit: with a snapshot of the model; each training is checked.
        watch: gives the callbacks of a training.
        say: prints a line.

    Returns:
        The outcome, and the calibrated logits of the training images by models that did not see them, float64 (n, C); (0, C) where
        validation images judged or nothing was accepted.

    Raises:
        AuditError: a frozen variable moved, or a trainable one did not.
    """
    began = time.perf_counter()
    with _prepared(setup, phase, start, before, say) as work, _put_back(work.model) as beginning:
        logits = np.full((len(ALPHAS), len(work.labels), setup.model.output_shape[-1]), np.nan)
        total = [np.zeros(part.shape) for part in beginning]
        residuals = np.full(len(work.labels), np.nan)
        done, rounds, group = 0, work.folds[: phase.rounds], setup.settings.group

        def judge(positions: np.ndarray) -> Judgement:
            return group.from_main(lambda: _judge(logits, work, positions))

        for number, fold in enumerate(rounds, 1):
            fold_began, place = time.perf_counter(), f"fold {number} of {len(rounds)}"
            first = _begin(work.model, beginning, fold.head)
            _fit(setup, phase, start, work.model, fold.train, watch(fold.train, f"{phase.name}, {place}"))
            audit.check(setup.model)
            last = work.model.get_weights()
            logits[:, fold.positions] = group.from_main(partial(_between, work.model, first, last, fold.judged))
            total, done = [sum_ + part for sum_, part in zip(total, last)], number
            found = judge(fold.positions)
            if setup.settings.rejects and fold.head is not None:
                residuals[fold.positions] = _residuals(work, fold, first, last, ALPHAS[found.best])
            figures = _figures(found, work, fold.positions)
            say(f"phase {phase.name}: {place}: {figures}, {time.perf_counter() - fold_began:.0f} s")
            if number == 1 and found.gain < -found.error:
                break
        seen = np.sort(np.concatenate([fold.positions for fold in work.folds[:done]]))
        found = judge(seen)
        accepted = found.gain > 0 and done == len(rounds)
        if accepted and phase.refit and rounds[0].head is not None:
            _begin(work.model, beginning, None)
            _fit(setup, phase, start, work.model, work.train, watch(work.train, f"{phase.name}, all images"))
            audit.check(setup.model)
            total, done = work.model.get_weights(), 1
        seconds = time.perf_counter() - began
        outcome = _outcome(found, work, seen, accepted, seconds, len(rounds) if accepted else done, residuals)
    if accepted:
        _assign_mean(work.model, beginning, [part / done for part in total], outcome)
    say(f"phase {phase.name}: {outcome}")
    if not accepted or len(setup.val.loader.split):
        return outcome, np.empty((0, logits.shape[-1]))
    return outcome, _of_all(found.logits[found.best], seen, work.folds)


def _of_all(logits: np.ndarray, seen: np.ndarray, folds: Sequence[_Fold]) -> np.ndarray:
    """Return logits for the images of all folds: where nothing was trained without an image, those of the solved head without it."""
    found = np.empty((sum(len(fold.positions) for fold in folds), logits.shape[-1]))
    for fold in folds:
        if fold.logits is not None:
            found[fold.positions] = fold.logits
    found[seen] = logits
    return found


@contextmanager
def _prepared(
    setup: TrainingSetup, phase: ResolvedPhase, start: PhaseStart, before: SolvedBefore | None, say: Say
) -> Iterator[_Folds]:
    """Find the part of the model that trains, compute the features below it once, and divide them into folds."""
    settings, val = setup.settings, setup.val
    opened: list[Batches] = []
    try:
        by_val = bool(len(val.loader.split))
        plain = Batches(setup.train.loader.in_order(part_size(setup.train.loader.batch_size, settings.accumulate)))
        opened.append(plain)
        if not val.loader.shard.is_whole:
            val = Batches(val.loader.whole())
            opened.append(val)
        judging = val if by_val else plain
        heads = [None] if by_val else _heads_without_folds(setup, phase, plain, before, say)
        passes = phase.epochs * max(1, phase.folds - 1)
        against = "" if start.model is setup.model else "the phase has an image size of its own"
        upper = upper_part(setup.model, start.images, judging, passes, settings.features, say, against)
        model, train, judged = (upper.model, upper.train, upper.val) if upper else (start.model, start.images, judging)
        if settings.native:
            install(model)
        folds = []
        for held in heads:
            if held is None:
                folds.append(_Fold(train, judged, np.arange(len(val.loader.split)), None))
                continue
            out = np.flatnonzero(held.mask)
            fold = _Fold(train.only(np.flatnonzero(~held.mask)), judged.only(out), out, held.head, held.logits)
            opened += [fold.train, fold.judged]
            folds.append(fold)
        yield _Folds(model, train, folds, judging.loader.split.labels, judging.loader.split.weights, judged)
    finally:
        for batches in opened:
            batches.loader.close()


@dataclass(frozen=True)
class _Held:
    """The images of a fold, bool (n,), the head without them, and its logits for them."""

    mask: np.ndarray
    head: SolvedHead
    logits: np.ndarray


def _heads_without_folds(
    setup: TrainingSetup, phase: ResolvedPhase, plain: Batches, before: SolvedBefore | None, say: Say
) -> list[_Held | None]:
    """Solve the head without each fold in turn, as it was solved on all images."""
    assert before is not None  # check_phases
    loader = setup.train.loader
    split, weights = loader.split, loss_weights(loader, setup.settings.class_weights)
    solver = solver_for(split.labels)
    others = setup.unlabelled if before.unlabelled else None
    part = head_part(setup.model, plain, setup.val, setup.settings.features, say, others)
    features = unpack(part.train.features[0])

    def solve() -> list[_Held | None]:
        beside = None if part.unlabelled is None else Beside(features, part.unlabelled)
        numbers = folds_of(split.labels, features, split.groups, phase.folds)[0]
        found: list[_Held | None] = []
        for number in np.unique(numbers):
            held = numbers == number
            if beside is not None:
                given = np.flatnonzero(~held)
                head = next(beside.heads(solver, given, split.labels, len(split.classes), (before.strength,), weights))
            else:
                rows = features[~held], split.labels[~held], len(split.classes), before.strength
                head = solver.solve(*rows, None if weights is None else weights[~held])
            head = head.scaled(before.temperature)
            found.append(_Held(held, head, head.logits(features[held])))
        return found

    return setup.settings.group.from_main(solve)


@contextmanager
def _put_back(model: keras.Model) -> Iterator[list[np.ndarray]]:
    """Yield the weights of ``model``, and restore them at the end of the block."""
    beginning = model.get_weights()
    try:
        yield beginning
    finally:
        model.set_weights(beginning)


def _begin(model: keras.Model, beginning: Sequence[np.ndarray], head: SolvedHead | None) -> list[np.ndarray]:
    """Give the model its weights from before the phase, with another head, and return them."""
    model.set_weights(beginning)
    if head is not None:
        kernel, bias = model.layers[-1].weights
        kernel.assign(head.kernel.astype(np.float32))
        bias.assign(head.bias.astype(np.float32))
    return list(model.get_weights())


def _fit(
    setup: TrainingSetup,
    phase: ResolvedPhase,
    start: PhaseStart,
    model: keras.Model,
    train: Batches,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train on the images outside a fold."""
    compile_phase(model, phase, len(train), setup.settings, factors=start.factors)
    model.fit(train, epochs=phase.epochs, callbacks=callbacks, verbose=0, shuffle=False)


def _between(
    model: keras.Model, first: Sequence[np.ndarray], last: Sequence[np.ndarray], judged: Batches
) -> np.ndarray:
    """Return the logits of the judging images for the weights at each of :data:`ALPHAS`, float64 (A, m, C)."""
    found = []
    for alpha in ALPHAS:
        _assign_between(model, first, last, alpha)
        found.append(np.asarray(model.predict(judged, verbose=0), np.float64))
    return np.stack(found)


def _assign_between(model: keras.Model, first: Sequence[np.ndarray], last: Sequence[np.ndarray], alpha: float) -> None:
    model.set_weights([_on_the_way(a, b, alpha) for a, b in zip(first, last)])


def _residuals(
    work: _Folds, fold: _Fold, first: Sequence[np.ndarray], last: Sequence[np.ndarray], alpha: float
) -> np.ndarray:
    """Return the residuals of the images of a fold for the weights at ``alpha``, float64 (m,).

    They are NaN where the features that residuals are computed of do not train.
    """
    _assign_between(work.model, first, last, alpha)
    if FEATURES not in {layer.name for layer in work.model.layers}:
        return np.full(len(fold.positions), np.nan)
    features = np.asarray(features_model(work.model).predict(work.judging, verbose=0), np.float64)
    rest = np.delete(features, fold.positions, axis=0)
    return Subspace.of(rest).residual(features[fold.positions])


def _listed(residuals: np.ndarray) -> tuple[float | None, ...]:
    known = np.isfinite(residuals)
    return tuple(float(x) if k else None for x, k in zip(residuals, known)) if known.any() else ()


def _on_the_way(first: np.ndarray, last: np.ndarray, alpha: float) -> np.ndarray:
    """Interpolate in float64; what did not move stays exactly as it is."""
    moved = first.astype(np.float64) + alpha * (last.astype(np.float64) - first)
    return np.asarray(moved, first.dtype)


def _judge(logits: np.ndarray, work: _Folds, positions: np.ndarray) -> Judgement:
    """Compare the shares on some of the judging images, each with its own temperature."""
    labels, weights = work.labels[positions], None if work.weights is None else work.weights[positions]
    temperatures = [fit_temperature(part, labels, weights) for part in logits[:, positions]]
    calibrated = np.stack([part / t for part, t in zip(logits[:, positions], temperatures)])
    costs = [np.average(losses(part, labels), weights=weights) for part in calibrated]
    best = 1 + int(np.argmin(costs[1:]))
    gain, error, *_ = difference(calibrated[0], calibrated[best], labels, weights)
    return Judgement(best, calibrated, temperatures, gain, error)


def _measured(found: Judgement, work: _Folds, positions: np.ndarray) -> tuple[Evidence, Evidence]:
    """Measure the beginning and the best share."""
    labels, weights = work.labels[positions], None if work.weights is None else work.weights[positions]
    return measure(found.logits[0], labels, weights), measure(found.logits[found.best], labels, weights)


def _figures(found: Judgement, work: _Folds, positions: np.ndarray) -> str:
    first, best = _measured(found, work, positions)
    return f"held-out log-loss {first.log_loss:.4f} -> {best.log_loss:.4f}, accuracy {first.accuracy:.4f} -> {best.accuracy:.4f}"


def _outcome(
    found: Judgement,
    work: _Folds,
    positions: np.ndarray,
    accepted: bool,
    seconds: float,
    folds: int,
    residuals: np.ndarray,
) -> FoldedOutcome:
    first, best = _measured(found, work, positions)
    temperature = found.temperatures[found.best]
    if work.folds[0].head is not None:
        temperature /= found.temperatures[0]
    seconds = round(seconds, 3)
    return FoldedOutcome(ALPHAS[found.best], temperature, first, best, accepted, seconds, folds, _listed(residuals))


def _assign_mean(
    model: keras.Model, beginning: Sequence[np.ndarray], mean: Sequence[np.ndarray], outcome: FoldedOutcome
) -> None:
    """Go the accepted share of the way to the mean of the trainings, and divide the head by its temperature."""
    model.set_weights([_on_the_way(first, end, outcome.alpha) for first, end in zip(beginning, mean)])
    for variable in model.layers[-1].weights:
        variable.assign(keras.ops.convert_to_numpy(variable) / np.float32(outcome.temperature))
