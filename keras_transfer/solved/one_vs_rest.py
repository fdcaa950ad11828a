"""L2-regularized logistic regression for each of several labels on its own (one versus rest), all solved together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.newton import STRENGTHS, Product, minima
from keras_transfer.solved.problem import Problem, pose


class OneVsRest:
    """Binary logistic regression with an L2 penalty for each label.

    Minimizes, for each label c, Σ wᵢc·(−log p(yᵢc | xᵢ)) + strength/2 · ‖kernel_c‖² over kernel and bias, where the sample weights sum to
    1, the features are centred and have a root mean square norm of 1 (:class:`~keras_transfer.solved.problem.Problem`), and the bias is
    not penalized. The labels do not depend on each other, so that the Hessian has a block for each; as for
    :class:`~keras_transfer.solved.logistic.Logistic`, Newton's steps for all of them are solved by conjugate gradients, preconditioned by the
    variances of the features.

    A label that all rows have, or none, gets a kernel of 0 and the logit ±log(n + 1), about what n samples of one kind say of the other
    (Laplace's rule of succession).
    """

    name = "one-versus-rest logistic"
    strengths = STRENGTHS

    def solve(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strength: float,
        weights: np.ndarray | None = None,
    ) -> SolvedHead:
        """Return the optimal head; see :meth:`path`."""
        return next(self.path(features, labels, classes, (strength,), weights))

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the optimal head of each strength, in the order given; each solution starts the search for the next weaker one.

        Args:
            features: float (n, d), finite.
            labels: 0 or 1, (n, C).
            classes: number of labels, C.
            strengths: of the penalty.
            weights: float (n,), of the samples, or (n, C), of each label of a sample; None: all the same.
        """
        if np.ndim(labels) != 2 or np.shape(labels)[1] != classes:
            raise UserError(f"expected labels (n, {classes}) of 0 and 1, got {np.shape(labels)}")
        each = None if weights is None or np.ndim(weights) < 2 else np.asarray(weights, np.float64)
        rows = weights if each is None else each.mean(axis=1)
        kept = np.ones(len(labels), bool) if rows is None else np.asarray(rows) > 0
        problem = pose(features, np.zeros(len(labels), np.int64), 1, rows)
        targets = np.asarray(labels, np.float64)[kept]
        shares = np.repeat(problem.weights[:, None], classes, axis=1)
        if each is not None:
            shares *= each[kept] / each[kept].mean(axis=1, keepdims=True)
        varies = np.flatnonzero((targets.min(axis=0) < 1) & (targets.max(axis=0) > 0))
        given = problem, targets[:, varies], shares[:, varies]
        found = minima(lambda strength: LabelObjective(*given, strength), _start(*given), strengths)
        return (self._head(problem, targets, varies, found[s], s) for s in strengths)

    def _head(
        self, problem: Problem, targets: np.ndarray, varies: np.ndarray, point: np.ndarray, strength: float
    ) -> SolvedHead:
        kernel = np.zeros((len(problem.mean), targets.shape[1]))
        kernel[:, varies] = problem.axes @ point[:-1] / problem.scale
        certain = math.log(len(targets) + 1)
        bias = np.where(targets[:1].ravel() > 0, certain, -certain)
        bias[varies] = point[-1] - problem.mean @ kernel[:, varies]
        return SolvedHead(kernel, bias, self.name, float(strength))


def _start(problem: Problem, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the optimum for infinite strength, float64 (r + 1, k): a kernel of 0, and a bias (the last row) of log odds."""
    point = np.zeros((problem.rows.shape[1] + 1, targets.shape[1]))
    share = (weights * targets).sum(axis=0) / weights.sum(axis=0)
    point[-1] = np.log(share) - np.log1p(-share)
    return point


class LabelObjective:
    """Loss, gradient and curvature at a point, float64 (r + 1, k): kernels, and biases in the last row.

    Args:
        problem: the features.
        targets: float64 (n, k), 0 … 1.
        weights: float64 (n, k).
        strength: of the penalty.
        offsets: float64 (n, 1) or (n, k), added to the logits; None: nothing.
    """

    def __init__(
        self,
        problem: Problem,
        targets: np.ndarray,
        weights: np.ndarray,
        strength: float,
        offsets: np.ndarray | None = None,
    ):
        self.rows, self.variances = problem.rows, problem.variances
        self.targets, self.weights, self.strength = targets, weights, strength
        self.offsets = 0.0 if offsets is None else offsets

    def loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and the probabilities, float64 (n, k)."""
        from scipy.special import expit

        logits = self.rows @ point[:-1] + point[-1] + self.offsets
        losses = np.logaddexp(0, logits) - self.targets * logits
        penalty = self.strength / 2 * float(np.square(point[:-1]).sum())
        return float((self.weights * losses).sum()) + penalty, np.asarray(expit(logits))

    def gradient(self, point: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the gradient at ``point``, where the model gives ``probabilities``."""
        error = (probabilities - self.targets) * self.weights
        return np.vstack([self.rows.T @ error + self.strength * point[:-1], error.sum(axis=0)])

    def curvature(self, probabilities: np.ndarray) -> Product:
        """Return the product with the Hessian, as a function of a flat vector."""
        spread = probabilities * (1 - probabilities) * self.weights
        shape = (len(self.variances) + 1, probabilities.shape[1])

        def product(flat: np.ndarray) -> np.ndarray:
            step = flat.reshape(shape)
            change = (self.rows @ step[:-1] + step[-1]) * spread
            return np.vstack([self.rows.T @ change + self.strength * step[:-1], change.sum(axis=0)]).ravel()

        return product

    def inverse(self, probabilities: np.ndarray) -> Product:
        """Return the product with an approximate inverse of the Hessian, as a function of a flat vector."""
        spread = (probabilities * (1 - probabilities) * self.weights).sum(axis=0)
        factors = np.empty((len(self.variances) + 1, len(spread)))
        factors[:-1] = 1 / (self.variances[:, None] * spread + self.strength)
        factors[-1] = 1 / np.maximum(spread, 1e-15)
        return lambda flat: np.asarray(flat.reshape(factors.shape) * factors).ravel()
