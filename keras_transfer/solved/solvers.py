"""What a solver is, and the table of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from keras_transfer.solved.centroid import Centroid
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.lda import Lda
from keras_transfer.solved.logistic import Logistic
from keras_transfer.solved.one_vs_rest import OneVsRest
from keras_transfer.solved.ridge import Ridge
from keras_transfer.stratify import is_multi


class HeadSolver(Protocol):
    """Finds the linear head that is best in some sense, deterministically.

    Attributes:
        name: of the method.
        strengths: sensible strengths of its regularization, from weak to strong.
    """

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """Sensible strengths of its regularization, from weak to strong."""

    def solve(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strength: float,
        weights: np.ndarray | None = None,
    ) -> SolvedHead:
        """Return the head of one strength.

        Args:
            features: float (n, d), finite.
            labels: integers (n,), 0 … classes − 1; a class may have no sample and is then never predicted.
            classes: number of classes, C.
            strength: of the regularization, in the solver's unit.
            weights: float (n,), not negative; None: all the same. Only their ratios matter.

        Raises:
            UserError: shapes that do not fit, a label out of range, values that are not finite, no weight above 0.
        """

    def path(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the heads of several strengths, in the order given: faster than one by one; arguments as for :meth:`solve`."""


SOLVERS: dict[str, HeadSolver] = {solver.name: solver for solver in (Logistic(), Lda(), Ridge(), Centroid())}
"""Name → solver, where every sample has one label."""

SEVERAL: HeadSolver = OneVsRest()
"""The solver where a sample may have several labels."""


def solver_for(labels: np.ndarray) -> HeadSolver:
    """Return the solver of logistic regression for class numbers (n,), or for labels of 0 and 1 (n, C)."""
    return SEVERAL if is_multi(labels) else SOLVERS["logistic"]
