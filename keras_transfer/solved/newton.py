"""Newton's method with preconditioned conjugate gradients, for smooth convex objectives with an L2 penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from keras_transfer.errors import UserError

Product = Callable[[np.ndarray], np.ndarray]

STRENGTHS = tuple(float(f"{value:.2g}") for value in np.geomspace(1e-6, 10**-1.5, 10))
"""Sensible strengths of the penalty of logistic regression, from weak to strong."""
_STEPS = 100
_INNER = 250  # conjugate-gradient steps within one of Newton's
_PRECISION = 1e-9  # of the gradient, relative to that of the penalty
_ROUNDING = 1e-15


class Objective(Protocol):
    """What is minimized, as a function of a point, float64 (r + 1, k): kernels, and biases in the last row."""

    def loss(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and the probabilities, float64 (n, k)."""

    def gradient(self, point: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the gradient at ``point``, where the model gives ``probabilities``."""

    def curvature(self, probabilities: np.ndarray) -> Product:
        """Return the product with the Hessian, as a function of a flat vector."""

    def inverse(self, probabilities: np.ndarray) -> Product:
        """Return the product with an approximate inverse of the Hessian, as a function of a flat vector."""


def minima(
    objective: Callable[[float], Objective], point: np.ndarray, strengths: Sequence[float]
) -> dict[float, np.ndarray]:
    """Return the minimum for each strength of the penalty, float64 (r + 1, k); each starts the search for the next weaker one.

    Args:
        objective: the function for a strength.
        point: where the search for the strongest begins.
        strengths: in any order.

    Raises:
        UserError: a strength that is not above 0 and finite.
    """
    if not all(0 < strength < np.inf for strength in strengths):
        raise UserError(f"strength of logistic regression: expected numbers above 0, got {list(strengths)}")
    found: dict[float, np.ndarray] = {}
    for strength in sorted(set(strengths), reverse=True):
        point = found[strength] = minimize(objective(strength), point, strength)
    return found


def minimize(objective: Objective, point: np.ndarray, strength: float) -> np.ndarray:
    """Return the minimum, float64 (r + 1, k), to a gradient below 10⁻⁹ of the penalty's.

    Args:
        objective: the function.
        point: where the search starts.
        strength: of the penalty.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    loss, probabilities = objective.loss(point)
    first = None
    for _ in range(_STEPS):
        gradient = objective.gradient(point, probabilities)
        size = float(np.linalg.norm(gradient))
        first = size if first is None else first
        if size <= _PRECISION * strength * float(np.linalg.norm(point[:-1])) + _ROUNDING:
            break
        shape = (point.size, point.size)
        curvature = LinearOperator(shape, objective.curvature(probabilities), dtype=np.float64)
        inverse = LinearOperator(shape, objective.inverse(probabilities), dtype=np.float64)
        wanted = min(0.1, size / first)  # quadratic convergence near the optimum, no wasted precision far from it
        step, _ = cg(curvature, -gradient.ravel(), rtol=max(wanted, 1e-6), maxiter=_INNER, M=inverse)
        step = step.reshape(point.shape)
        slope, length = float((gradient * step).sum()), 1.0
        while length > 1e-6:
            new_loss, new_probabilities = objective.loss(point + length * step)
            if new_loss <= loss + 1e-4 * length * slope + _ROUNDING * (1 + abs(loss)):
                break
            length /= 2
        else:
            break  # nothing left to gain within rounding
        point, loss, probabilities = point + length * step, new_loss, new_probabilities
    return point
