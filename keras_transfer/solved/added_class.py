"""One more class for a head whose other classes stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from keras_transfer.errors import UserError
from keras_transfer.solved.newton import STRENGTHS, minimize
from keras_transfer.solved.one_vs_rest import LabelObjective
from keras_transfer.solved.problem import Problem, pose

NOTHING = 1e-5
"""Share of the variance that may be left out."""


@dataclass(frozen=True)
class AddedClass:
    """The column of a new class.

    Attributes:
        kernel: float64 (d,).
        bias: of the class.
        strength: of the penalty.
        out_of_fold: float64 (n,), its logits for the samples, each by a column that was solved without the sample's fold.
    """

    kernel: np.ndarray
    bias: float
    strength: float
    out_of_fold: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return its logits for features (n, d), float64 (n,)."""
        return np.asarray(np.asarray(features, np.float64) @ self.kernel + self.bias)


def added_class(
    features: np.ndarray,
    logits: np.ndarray,
    is_new: np.ndarray,
    folds: np.ndarray,
    weights: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Iterator[AddedClass]:
    """Find the column of a new class beside the given logits of the other classes.

    What a model says of the old classes among each other stays true when a class is added, so only P(new | x) is found anew. With the
    logits z of the old classes, softmax makes it the logistic function of w·x + b − log Σ exp z: a binary logistic regression with an
    offset (McCullagh & Nelder, "Generalized linear models", 1989, section 4.3 on offsets), whose only parameters are the column w and b.
    The probabilities of the old classes keep their ratios exactly: no picture changes from one old class to another.

    Minimizes, over w and b, Σ wᵢ·(−log p) + strength/2 · ‖w‖², in the units of :class:`~keras_transfer.solved.logistic.Logistic`, where w
    is in the span of the principal axes that hold all but 10⁻⁵ of the variance. The columns without each fold and that of all samples are
    solved together, as columns of one problem.

    Args:
        features: float (n, d).
        logits: float (n, C), of the old classes.
        is_new: bool (n,), some of either kind.
        folds: integers (n,).
        weights: float (n,), not negative; None: all the same.
        strengths: of the penalty.

    Yields:
        One for each strength, from the strongest, where the search for the next begins: weak ones take the longest.

    Raises:
        UserError: shapes that do not fit, numbers that are not finite, only one kind of samples.
    """
    n = len(features)
    given = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if not n == len(logits) == len(is_new) == len(folds) == len(given) or not np.isfinite(logits).all():
        raise UserError(
            f"expected features (n, d), finite logits (n, C), and n flags, folds and weights; got {np.shape(features)}, "
            f"{np.shape(logits)}, {len(is_new)}, {len(folds)} and {len(given)}"
        )
    problem = _in_main_axes(pose(features, np.zeros(n, np.int64), 1, weights))
    used = given > 0
    targets, offset = np.asarray(is_new, np.float64)[used, None], -logsumexp(logits[used], axis=1)[:, None]
    places = np.searchsorted(numbers := np.unique(folds), folds)
    columns = len(numbers) + 1  # the last one is of all samples
    shares = np.repeat(problem.weights[:, None], columns, axis=1)
    shares[np.arange(len(shares)), places[used]] = 0
    masses = (shares * targets).sum(axis=0), (shares * (1 - targets)).sum(axis=0)
    if min(map(np.min, masses)) <= 0:
        raise UserError("expected samples of the new class and of the old ones outside each fold")
    shares /= shares.sum(axis=0)
    all_targets = np.repeat(targets, columns, axis=1)
    point = np.zeros((problem.rows.shape[1] + 1, columns))
    point[-1] = [_intercept(offset[:, 0], targets[:, 0], shares[:, k]) for k in range(columns)]
    for strength in sorted(set(strengths), reverse=True):
        point = minimize(LabelObjective(problem, all_targets, shares, strength, offset), point, strength)
        kernels = problem.axes @ point[:-1] / problem.scale
        biases = point[-1] - problem.mean @ kernels
        held = np.take_along_axis(np.asarray(features, np.float64) @ kernels + biases, places[:, None], axis=1)[:, 0]
        yield AddedClass(kernels[:, -1], float(biases[-1]), float(strength), held)


def _in_main_axes(problem: Problem) -> Problem:
    """Leave out the axes that hold next to nothing: features of a fine-tuned network have hundreds of them."""
    kept = np.cumsum(problem.variances) > NOTHING * problem.variances.sum()
    rows = np.ascontiguousarray(problem.rows[:, kept])
    return replace(problem, rows=rows, variances=problem.variances[kept], axes=problem.axes[:, kept])


def _intercept(offset: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the bias with which the mean probability is the share of the new class, where the kernel is 0."""
    from scipy.optimize import brentq
    from scipy.special import expit

    low, high = float(-offset.max()) - 50, float(-offset.min()) + 50
    return float(brentq(lambda bias: float(weights @ (expit(offset + bias) - targets)), low, high))
