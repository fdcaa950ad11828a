"""L2-regularized multinomial logistic regression, solved by Newton's method with preconditioned conjugate gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.newton import STRENGTHS, Product, minima
from keras_transfer.solved.problem import Problem, pose


class Logistic:
    """Multinomial logistic regression with an L2 penalty.

    Minimizes Σ wᵢ·(−log p(yᵢ | xᵢ)) + strength/2 · ‖kernel‖² over kernel and bias, where the weights wᵢ sum to 1, the features are
    centred and have a root mean square norm of 1 (:class:`~keras_transfer.solved.problem.Problem`), and the bias is not penalized. The
    minimum is unique; it is found to a gradient below 10⁻⁹ of the penalty's. Each Newton step is solved by conjugate gradients,
    preconditioned by the product of the mean softmax covariance (C, C) and the feature covariance (d, d), whose eigenvectors are known.
    """

    name = "logistic"
    strengths = STRENGTHS

    def solve(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strength: float,
        weights: np.ndarray | None = None,
    ) -> SolvedHead:
        """Return the optimal head; see :class:`~keras_transfer.solved.solvers.HeadSolver`."""
        return next(self.path(features, labels, classes, (strength,), weights))

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the optimal head of each strength, in the order given; each solution starts the search for the next weaker one."""
        problem = pose(features, labels, classes, weights)
        found = minima(lambda strength: _Objective(problem, strength), _start(problem), strengths)
        return (problem.head(found[s][:-1], found[s][-1], self.name, s) for s in strengths)


def _start(problem: Problem) -> np.ndarray:
    """Return the optimum for infinite strength, float64 (r + 1, k): a kernel of 0, and a bias (the last row) of log frequencies."""
    point = np.zeros((problem.rows.shape[1] + 1, len(problem.present)))
    point[-1] = np.log(problem.weights @ problem.one_hot)
    point[-1] -= point[-1].mean()
    return point


class _Objective:
    """Loss, gradient and curvature at a point, float64 (r + 1, k)."""

    def __init__(self, problem: Problem, strength: float):
        self.rows, self.weights, self.variances = problem.rows, problem.weights[:, None], problem.variances
        self.labels, self.strength = problem.labels, strength
        self.index = np.arange(len(self.labels))

    def loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and the probabilities, float64 (n, k)."""
        logits = self.rows @ point[:-1] + point[-1]
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[self.index, self.labels].copy()
        probabilities = np.exp(logits, out=logits)
        total = probabilities.sum(axis=1)
        probabilities /= total[:, None]
        penalty = self.strength / 2 * float(np.square(point[:-1]).sum())
        return float(self.weights[:, 0] @ (np.log(total) - own)) + penalty, probabilities

    def gradient(self, point: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the gradient at ``point``, where the model gives ``probabilities``."""
        error = probabilities * self.weights
        error[self.index, self.labels] -= self.weights[:, 0]
        return np.vstack([self.rows.T @ error + self.strength * point[:-1], error.sum(axis=0)])

    def curvature(self, probabilities: np.ndarray) -> Product:
        """Return the product with the Hessian, as a function of a flat vector."""
        weighted = probabilities * self.weights
        shape = (len(self.variances) + 1, probabilities.shape[1])

        def product(flat: np.ndarray) -> np.ndarray:
            step = flat.reshape(shape)
            change = self.rows @ step[:-1] + step[-1]
            change -= np.einsum("ij,ij->i", probabilities, change)[:, None]
            change *= weighted
            return np.vstack([self.rows.T @ change + self.strength * step[:-1], change.sum(axis=0)]).ravel()

        return product

    def inverse(self, probabilities: np.ndarray) -> Product:
        """Return the product with an approximate inverse of the Hessian, as a function of a flat vector."""
        weighted = probabilities * self.weights
        spread, turn = np.linalg.eigh(np.diag(weighted.sum(axis=0)) - weighted.T @ probabilities)
        spread = np.maximum(spread, 0)
        factors = np.ones((len(self.variances) + 1, len(spread)))
        factors[:-1] = 1 / (self.variances[:, None] * spread + self.strength)
        # The same bias for all classes changes nothing: that direction (the first eigenvector) has no curvature, and no gradient.
        factors[-1, 1:] = 1 / np.maximum(spread[1:], 1e-15)

        def product(flat: np.ndarray) -> np.ndarray:
            return np.asarray((flat.reshape(factors.shape) @ turn * factors) @ turn.T).ravel()

        return product
