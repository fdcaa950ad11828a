"""Newton's method with preconditioned conjugate gradients, for smooth convex objectives with an L2 penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

Product = Callable[[np.ndarray], np.ndarray]

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
