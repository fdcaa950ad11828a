"""How well a solver does on samples that it has not seen, and which strength of regularization is best."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from keras_transfer.errors import UserError
from keras_transfer.runtime import usable_memory
from keras_transfer.solved.evidence import Evidence, losses, measure
from keras_transfer.solved.problem import in_sample_span
from keras_transfer.solved.solvers import HeadSolver
from keras_transfer.solved.temperature import fit_temperature

_SMALL = 3000  # samples up to which more threads cost more than they help, above all beside other processes


@dataclass(frozen=True)
class CrossValidation:
    """Predictions for each sample by heads that were solved without it, for the strength with the lowest log-loss.

    Attributes:
        logits: float64 (n, C), before the temperature; the mean over the repeats.
        strength: the chosen one.
        temperature: by which these logits are best divided.
        evidence: of the logits divided by the temperature; with repeats, the mean of their figures, not the figures of their mean,
            which is better than one head.
        seconds: that all of it took.
    """

    logits: np.ndarray
    strength: float
    temperature: float
    evidence: Evidence
    seconds: float


def cross_validate(
    solver: HeadSolver,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    folds: np.ndarray,
    weights: np.ndarray | None = None,
    measured: np.ndarray | None = None,
    strengths: Sequence[float] | None = None,
) -> CrossValidation:
    """Solve without each fold in turn, predict it, and choose the strength with the lowest log-loss over all folds.

    For each strength, one temperature is fitted to all out-of-fold logits before they are compared: strengths differ in how well they
    separate the classes and in how certain the head is, and the temperature takes care of the second. Of equal strengths, the stronger.

    Args:
        solver: of the head.
        features: float (n, d); or (views, n, d): several views of each sample, such as the picture and its mirror image. The head is
            solved on all views, each with the weight 1/views of its sample, and predicts view 0.
        labels: integers (n,), or 0 and 1 (n, C): several labels for a sample.
        classes: number of classes, C.
        folds: integers (n,) or (repeats, n): the fold of each sample (:func:`~keras_transfer.solved.folds.fold_numbers`).
        weights: float (n,), of the samples when the head is solved, such as class weights; None: all the same.
        measured: float (n,), of the samples in the log-loss and the evidence; None: all the same.
        strengths: to choose from, from weak to strong; None: the solver's own.

    Raises:
        UserError: shapes that do not fit, or folds that leave nothing to solve on.
    """
    began = time.perf_counter()
    strengths = solver.strengths if strengths is None else strengths
    if features.ndim == 2 and features.shape[1] > len(features):
        features = in_sample_span([features])  # the same predictions, with as many numbers a row as there are rows
    views = features[None] if features.ndim == 2 else features
    numbers = np.atleast_2d(folds)
    if views.ndim != 3 or views.shape[1] != len(labels) or numbers.shape[1] != len(labels):
        raise UserError(
            f"expected features (n, d) or (views, n, d), labels (n,) and folds (repeats, n), got {features.shape},"
            f" {labels.shape} and {numbers.shape}"
        )
    _check_memory(len(strengths) * len(numbers), len(labels), classes)
    with one_thread_if_small(len(labels)):
        found = out_of_fold(solver, views, labels, classes, numbers, weights, strengths)
    temperatures = [fit_temperature(logits, labels, measured) for logits in found]
    costs = [np.average(losses(logits / t, labels), weights=measured) for logits, t in zip(found, temperatures)]
    best = max(range(len(costs)), key=lambda k: (-costs[k], k))
    evidence = measure(found[best] / temperatures[best], labels, measured)
    seconds = time.perf_counter() - began
    return CrossValidation(found[best].mean(axis=0), strengths[best], temperatures[best], evidence, seconds)


@contextmanager
def one_thread_if_small(samples: int) -> Iterator[None]:
    """Compute on few samples with one thread: more would cost more than they help."""
    with threadpool_limits(1 if samples <= _SMALL else None):
        yield


def _check_memory(times: int, samples: int, classes: int) -> None:
    """Raise UserError where the predictions of all heads do not fit into memory: the kernel would kill the process without a word."""
    needed, usable = (
        8 * (times + 6) * samples * classes,
        usable_memory(),
    )  # what a solver needs beside them is a few times as much
    if usable is not None and needed > usable:
        raise UserError(
            f"solving the head for {classes:,} classes and {samples:,} images would take about {needed / 1024**3:.0f} GiB of memory, of which "
            f"{usable / 1024**3:.1f} are left: use solver gradient for this phase"
        )


def out_of_fold(
    solver: HeadSolver,
    views: np.ndarray,
    labels: np.ndarray,
    classes: int,
    numbers: np.ndarray,
    weights: np.ndarray | None,
    strengths: Sequence[float],
) -> np.ndarray:
    """Return the logits of every sample by heads that were solved without its fold, float64 (strengths, repeats, n, C)."""
    found = np.empty((len(strengths), len(numbers), len(labels), classes))
    for repeat, fold in enumerate(numbers):
        for number in np.unique(fold):
            held = fold == number
            given = stack_views(views[:, ~held], labels[~held], None if weights is None else weights[~held])
            for k, head in enumerate(solver.path(given[0], given[1], classes, strengths, given[2])):
                found[k, repeat, held] = head.logits(views[0, held])
    return found


def stack_views(
    views: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the features of all views (views, n, d) as rows, with their labels and weights, as a solver takes them."""
    count = len(views)
    rows = views.reshape(-1, views.shape[-1])
    repeated = np.concatenate([labels] * count)
    return rows, repeated, None if weights is None else np.concatenate([weights / count] * count)
