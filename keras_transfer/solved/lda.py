"""Linear discriminant analysis with a shrunken covariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.problem import Problem, pose


class Lda:
    """Linear discriminant analysis with the covariance of Ledoit and Wolf.

    All classes share one covariance, that of the deviations from the class means, shrunken towards a multiple of the identity by the
    intensity of Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
    Analysis 88 (2004). ``strength`` multiplies that intensity, up to full shrinkage; 1 is the estimator of the paper. With weights, the
    deviations are weighted, and the intensity is that of the weighted deviations.

    scikit-learn's ``LinearDiscriminantAnalysis(shrinkage="auto")`` shrinks one covariance for each class instead, which has no meaning
    for a class with one sample, takes no weights, and solves in all d dimensions instead of the span of the samples.
    """

    name = "lda"
    strengths = (1.0,)

    def solve(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strength: float,
        weights: np.ndarray | None = None,
    ) -> SolvedHead:
        """Return the head; see :class:`~keras_transfer.solved.solvers.HeadSolver`."""
        return next(self.path(features, labels, classes, (strength,), weights))

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the head of each strength, in the order given."""
        problem = pose(features, labels, classes, weights)
        means, shares = problem.class_means()
        deviations = problem.rows - means[problem.labels]
        covariance = (deviations * problem.weights[:, None]).T @ deviations
        size = float(np.trace(covariance)) / len(problem.mean)
        if size <= 1e-20 / len(problem.mean):  # no class has two different samples: what is left is the nearest mean
            covariance, size = np.zeros_like(covariance), 1 / len(problem.mean)
        intensity = _intensity(deviations, covariance, problem)
        for strength in strengths:
            share = min(1.0, strength * intensity)
            shrunken = (1 - share) * covariance + share * size * np.eye(len(covariance))
            kernel = _solve(shrunken, means.T)
            bias = np.log(shares) - np.einsum("kr,rk->k", means, kernel) / 2
            yield problem.head(kernel, bias, self.name, strength)


def _intensity(deviations: np.ndarray, covariance: np.ndarray, problem: Problem) -> float:
    """Return Ledoit and Wolf's shrinkage intensity, 0 … 1; directions outside the span have no variance but count as dimensions."""
    n, d = len(deviations), len(problem.mean)
    size = float(np.trace(covariance)) / d
    squared = float(np.square(covariance).sum())
    distance = squared / d - size**2  # of the covariance from the multiple of the identity
    fourth = float((n * problem.weights**2) @ np.square(np.square(deviations).sum(axis=1)))
    error = (fourth - squared) / (n * d)  # expected, of the covariance itself
    return min(1.0, max(0.0, error) / distance) if distance > 0 else 1.0


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve with a symmetric matrix that may be singular, where the shrinkage is 0 or next to it."""
    values, vectors = np.linalg.eigh(matrix)
    inverse = np.where(values > 1e-12 * values.max(initial=0), 1 / np.where(values > 0, values, 1), 0)
    return np.asarray((vectors * inverse) @ (vectors.T @ right))
