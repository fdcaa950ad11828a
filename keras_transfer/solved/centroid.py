"""The nearest class mean, as a linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.problem import pose


class Centroid:
    """The nearest class mean by Euclidean distance.

    The logits are −‖x − mean‖²/(2·variance) without the part that all classes share, so they are linear in the features. This is the
    centred variant of Wang et al., "SimpleShot: Revisiting nearest-neighbor classification for few-shot learning" (2019,
    https://arxiv.org/abs/1911.04623). Their CL2N, which also divides each feature vector by its norm, is not linear in the features and
    cannot be the last layer of a network.

    The variance is that of the deviations from the class means along a direction that is itself distributed like them,
    tr(S²)/tr(S); it sets the scale of the logits and not the predictions. There is nothing to regularize: ``strength`` is not used.
    """

    name = "centroid"
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
        problem = pose(features, labels, classes, weights)
        means, _ = problem.class_means()
        deviations = problem.rows - means[problem.labels]
        scatter = (deviations * problem.weights[:, None]).T @ deviations
        total = float(np.trace(scatter))
        # Without any scatter, the variance of the features themselves has to do.
        variance = (
            float(np.square(scatter).sum()) / total
            if total > 1e-20
            else max(float(problem.variances.max(initial=0)), 1e-20)
        )
        return problem.head(means.T / variance, -np.square(means).sum(axis=1) / (2 * variance), self.name, strength)

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the same head for each strength."""
        for strength in strengths:
            yield self.solve(features, labels, classes, strength, weights)
