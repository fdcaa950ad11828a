"""Last layers that a revised run may have, and what speaks for each: predictions for pictures that it was not made from. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from keras_transfer.solved.added_class import added_class
from keras_transfer.solved.cross_validation import one_thread_if_small, out_of_fold
from keras_transfer.solved.evidence import Evidence, difference, hits, losses, measure
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.solvers import solver_for
from keras_transfer.solved.temperature import fit_temperature
from keras_transfer.stratify import is_multi

FOLDS, EVERY = (
    3,
    3,
)  # with every third strength: seconds count, and the head is an optimum that depends little on either
MISTAKES = 0.05
"""Mistakes that a new class makes, as a share of its pictures, up to which no other head is tried: none could be much better."""

LEAST_GAIN = 0.01  # of the log-loss, for which a weaker penalty is worth its time


@dataclass(frozen=True)
class Known:
    """Features and labels that heads are solved on, and judged by.

    Heads are judged by the validation pictures. Where these lack a class, as a new one, or there are none, by the training pictures of
    that class too, each predicted by a head made without it.

    Attributes:
        features: float (n, d), of the training pictures.
        labels: integers (n,), or 0 and 1 (n, C).
        classes: number of classes, C.
        weights: in the loss, float (n,) or (n, C), or None.
        measured: weights of the pictures as samples, float (n,), or None.
        groups: of the pictures, (n,), or None.
        val_features, val_labels, val_measured: the same of the validation pictures, of which there may be none.
    """

    features: np.ndarray
    labels: np.ndarray
    classes: int
    weights: np.ndarray | None
    measured: np.ndarray | None
    groups: np.ndarray | None
    val_features: np.ndarray
    val_labels: np.ndarray
    val_measured: np.ndarray | None

    @cached_property
    def folds(self) -> np.ndarray:
        """The fold of each training picture, int64 (1, n)."""
        return folds_of(self.labels, self.features, self.groups, FOLDS)

    @cached_property
    def judging(self) -> np.ndarray:
        """Which training pictures judge, bool (n,)."""
        if not len(self.val_labels):
            return np.ones(len(self.labels), bool)
        if is_multi(self.labels):
            missing = (self.labels.sum(axis=0) > 0) & (self.val_labels.sum(axis=0) == 0)
            return np.asarray((self.labels[:, missing] > 0).any(axis=1))
        return ~np.isin(self.labels, self.val_labels)

    @property
    def judged(self) -> np.ndarray:
        """Labels of the validation pictures, and then of the training pictures that judge."""
        return np.concatenate([self.val_labels, self.labels[self.judging]])

    @property
    def judged_weights(self) -> np.ndarray:
        """Weight of each of them, float64: the validation pictures stand for all training pictures that do not judge."""
        own, val = (
            np.ones(len(labels)) if given is None else np.asarray(given, np.float64)
            for given, labels in ((self.measured, self.labels), (self.val_measured, self.val_labels))
        )
        others = own[~self.judging].sum() if self.judging.any() else val.sum()
        return np.concatenate([val * (others / val.sum() if val.sum() > 0 else 1.0), own[self.judging]])


@dataclass(frozen=True)
class Candidate:
    """A head, and what is known of it.

    Attributes:
        head: float64.
        logits: of the pictures that judge, float64 (j, C), in the order of :attr:`Known.judged`.
        evidence: of these.
        out_of_fold: logits of the training pictures by heads made without them, float64 (n, C); None where only validation judges.
        temperature: that the head was divided by.
        adds: whether the head is that of the old run with a column more.
    """

    head: SolvedHead
    logits: np.ndarray
    evidence: Evidence
    out_of_fold: np.ndarray | None
    temperature: float = 1.0
    adds: bool = False

    def outcome(self) -> dict[str, Any]:
        """Return it for ``metrics.json``."""
        return {
            "phase": "head",
            "solver": "exact",
            "strength": self.head.strength,
            "temperature": self.temperature,
            "evidence": asdict(self.evidence),
            "old_classes": "kept" if self.adds else "solved again",
        }

    def __str__(self) -> str:
        what = "a column for the new class, the others as they are" if self.adds else "last layer solved again"
        return f"{what}; strength {self.head.strength:.2g}, chosen by pictures it was not made from: {self.evidence}"


def solved_again(known: Known, strengths: Sequence[float] | None = None) -> Candidate:
    """Return the head solved for all classes, with the strength and the temperature that predict the pictures that judge best."""
    solver = solver_for(known.labels)
    strengths = tuple(solver.strengths[::EVERY] if strengths is None else strengths)
    given, count = (known.features, known.labels, known.classes), len(strengths)
    held: np.ndarray | None = None
    heads: list[SolvedHead] = []
    with one_thread_if_small(len(known.labels)):
        if known.judging.any():
            held = out_of_fold(
                solver, known.features[None], known.labels, known.classes, known.folds, known.weights, strengths
            )[:, 0]
        if len(known.val_labels):
            heads = list(solver.path(*given, strengths, known.weights))
    shown = []
    for k in range(count):
        val = heads[k].logits(known.val_features) if heads else np.empty((0, known.classes))
        shown.append(np.concatenate([val, held[k][known.judging]]) if held is not None else val)
    labels, weights = known.judged, known.judged_weights
    temperatures = [fit_temperature(logits, labels, weights) for logits in shown]
    costs = [np.average(losses(logits / t, labels), weights=weights) for logits, t in zip(shown, temperatures)]
    best = int(np.argmin(costs))
    if not heads:
        with one_thread_if_small(len(known.labels)):
            heads = [solver.solve(*given, strengths[best], known.weights)] * count
    t = temperatures[best]
    rest = None if held is None or len(known.val_labels) else held[best] / t
    return Candidate(heads[best].scaled(t), shown[best] / t, measure(shown[best] / t, labels, weights), rest, t)


def with_column(known: Known, kernel: np.ndarray, bias: np.ndarray, earlier: np.ndarray | None = None) -> Candidate:
    """Return the head of the old run with a column for a new class, which is the last (:func:`~keras_transfer.solved.added_class`).

    Its strength is the strongest that no weaker one clearly improves on: each is tried after the next stronger one, until the log-loss
    of the pictures that judge falls by no more than half of the standard error of that difference, or 1 %. A number is added to the logits of
    the new class, with which they are predicted best.

    Args:
        known: what heads are solved on. Of several labels per picture, the new one is found alone.
        kernel, bias: of the old head, (d, C − 1) and (C − 1,).
        earlier: logits of the training pictures by old models that were made without them, float (n, C − 1), where there are any;
            rows that are not finite have none.
    """
    new, labels, weights = known.classes - 1, known.judged, known.judged_weights
    several = is_multi(known.labels)
    has, judged_has = (given[:, -1] > 0 if several else given == new for given in (known.labels, labels))
    loss = known.weights[:, -1] if known.weights is not None and known.weights.ndim == 2 else known.weights
    old = np.asarray(known.features, np.float64) @ kernel + bias
    if earlier is not None:
        old = np.where(np.isfinite(earlier), earlier, old)
    old_val = np.asarray(known.val_features, np.float64) @ kernel + bias
    offsets = np.zeros_like(old[:, :1]) if several else old
    folds = folds_of(has.astype(np.int64), known.features, known.groups, FOLDS)[0]
    best: Candidate | None = None
    with one_thread_if_small(len(known.labels)):
        for column in added_class(known.features, offsets, has, folds, loss):
            held = np.column_stack([old, column.out_of_fold])
            shown = np.concatenate([np.column_stack([old_val, column.logits(known.val_features)]), held[known.judging]])
            shift = _shift(shown, judged_has, weights, several)
            for logits in (held, shown):
                logits[:, -1] += shift
            if best is not None:
                gain, error, *_ = difference(best.logits, shown, labels, weights)
                if gain <= max(error / 2, LEAST_GAIN * best.evidence.log_loss):
                    break
            kernels, biases = np.column_stack([kernel, column.kernel]), np.append(bias, column.bias + shift)
            head = SolvedHead(kernels, biases, "logistic", column.strength)
            rest = None if len(known.val_labels) else held
            best = Candidate(head, shown, measure(shown, labels, weights), rest, adds=True)
    assert best is not None
    return best


def best_with_new_class(
    known: Known, adding: Candidate, again: Callable[[Known], Candidate] = solved_again
) -> Candidate:
    """Return the head with a column more, unless one solved for all classes is clearly better.

    The other is not even tried where the new class is hardly ever taken for an old one, nor an old one for it.

    Args:
        known: what judges.
        adding: from :func:`with_column`.
        again: makes the other one.
    """
    labels, new = known.judged, known.classes - 1
    if is_multi(labels):
        return adding  # labels do not depend on each other: there is nothing to gain for the others
    without = hits(adding.logits[:, :-1], np.minimum(labels, new - 1)) > 0
    wrong = hits(adding.logits, labels) == 0
    mistakes = int((wrong & ((labels == new) | without)).sum())
    if mistakes <= MISTAKES * (labels == new).sum():
        return adding
    other = again(known)
    gain, error, *_ = difference(adding.logits, other.logits, labels, known.judged_weights)
    return other if gain > error else adding


def _shift(logits: np.ndarray, is_new: np.ndarray, weights: np.ndarray, several: bool) -> float:
    """Return the number to add to the last logits, so that its probabilities fit best, between −20 and 20."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    margin = logits[:, -1] - (0.0 if several else logsumexp(logits[:, :-1], axis=1))
    signs = np.where(is_new, -1.0, 1.0)

    def loss(shift: float) -> float:
        return float(weights @ np.logaddexp(0, signs * (margin + shift)))

    return float(minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-6}).x)
