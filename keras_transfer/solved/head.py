"""A solved head: a linear layer from features to logits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_transfer.errors import UserError


@dataclass(frozen=True)
class SolvedHead:
    """The weights of a linear layer, and what found them.

    Attributes:
        kernel: float64 (d, C).
        bias: float64 (C,).
        solver: name of the solver.
        strength: of its regularization, in the solver's own unit.
    """

    kernel: np.ndarray
    bias: np.ndarray
    solver: str
    strength: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits of features (n, d), float64 (n, C)."""
        return np.asarray(np.asarray(features, np.float64) @ self.kernel + self.bias)

    def scaled(self, temperature: float) -> SolvedHead:
        """Return the head whose logits are divided by ``temperature``: temperature scaling as part of the weights.

        Raises:
            UserError: a temperature that is not positive.
        """
        if not temperature > 0:
            raise UserError(f"temperature: expected a number above 0, got {temperature!r}")
        return replace(self, kernel=self.kernel / temperature, bias=self.bias / temperature)
