"""Ridge regression on one-hot targets, with leave-one-out predictions in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.problem import Problem, pose


class Ridge:
    """Least squares on targets of 1 for the class and −1 for the others, with an L2 penalty on the kernel.

    Minimizes Σ wᵢ·‖targetᵢ − predictionᵢ‖² + strength·‖kernel‖², with weights and features as in
    :class:`~keras_transfer.solved.problem.Problem`; the bias is not penalized. The predictions serve as logits, but have the scale of the
    targets: they need a temperature before their softmax is a probability.
    """

    name = "ridge"
    strengths = tuple(float(f"{value:.2g}") for value in np.geomspace(1e-5, 1, 11))

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
        """Return the optimal head of each strength, in the order given, from one decomposition."""
        problem = pose(features, labels, classes, weights)
        for strength in strengths:
            yield problem.head(*_fit(problem, strength), self.name, strength)

    def leave_one_out(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the logits that each sample gets from the head of all others, float64 (S, n, C).

        In closed form: the residual without a sample is its residual with it, divided by 1 − leverage (Allen, "The relationship between
        variable selection and data augmentation and a method for prediction", Technometrics 16, 1974). The unit of the strength is that
        of all samples. A sample with weight 0 gets the logits of the head, which it is no part of. A sample that alone fixes a prediction
        (leverage 1) gets logits of 0.
        """
        problem = pose(features, labels, classes, weights)
        used = np.ones(len(labels), bool) if weights is None else np.asarray(weights) > 0
        found = np.zeros((len(strengths), len(labels), classes))
        targets = 2 * problem.one_hot - 1
        for logits, strength in zip(found, strengths):
            kernel, bias = _fit(problem, strength)
            predicted = problem.rows @ kernel + bias
            spread = 1 / (problem.variances + strength)
            leverage = problem.weights * (1 + np.square(problem.rows) @ spread)
            left = 1 - leverage[:, None]
            known = left[:, 0] > 1e-10
            alone = np.zeros_like(predicted)
            alone[known] = targets[known] - (targets - predicted)[known] / left[known]
            head = problem.head(kernel, bias, self.name, strength)
            if not used.all():
                logits[~used] = head.logits(np.asarray(features)[~used])
            logits[used] = head.bias  # of the classes without samples, whose kernel is 0
            logits[np.ix_(used, problem.present)] = alone - alone.mean(axis=1, keepdims=True)
        return found


def _fit(problem: Problem, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (r, k) and bias (k,): the columns of the rows are uncorrelated, so each is a regression of its own."""
    targets = 2 * problem.one_hot - 1
    weighted = targets * problem.weights[:, None]
    kernel = problem.rows.T @ weighted / np.maximum(problem.variances + strength, 1e-300)[:, None]
    return kernel, weighted.sum(axis=0)
