"""How unlike the training images an image is, from its features and logits: what "none of these" is decided by.

Two pieces of evidence are added, each in standard deviations of what images of the known classes have that no model was made from:

- the energy of the logits, −log Σ exp (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020,
  https://arxiv.org/abs/2010.03759);
- the part of the unit-length features that the principal axes of the training features do not explain, as in ViM (Wang et al., "ViM:
  out-of-distribution with virtual-logit matching", CVPR 2022, https://arxiv.org/abs/2203.10807). It counts only beyond one standard
  deviation: within, it says more about the class of an image than about its strangeness.

``docs/results.md`` compares them with other scores. NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from keras_transfer.errors import UserError

AXES = 0.1
"""Principal axes, as a share of the number of training images (or of the features, if those are fewer)."""
WEIGHT, FROM = 2.0, 1.0
"""Weight of the residual, and the standard deviations from which it counts."""


@dataclass(frozen=True)
class Subspace:
    """The principal axes of unit-length features.

    Attributes:
        mean: float64 (d,).
        axes: float64 (d, r), orthonormal columns.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Subspace:
        """Find the axes of features, float (n, d).

        Raises:
            UserError: features that are not finite, or fewer than two rows.
        """
        if len(features) < 2 or not np.isfinite(features).all():
            raise UserError(f"rejection needs finite features of at least 2 training images, got {np.shape(features)}")
        return cls._with(_unit(features), axes_for(*np.shape(features)))

    @classmethod
    def _with(cls, rows: np.ndarray, count: int) -> Subspace:
        mean = rows.mean(axis=0)
        return cls(mean, np.linalg.svd(rows - mean, full_matrices=False)[2][:count].T)

    def residual(self, features: np.ndarray) -> np.ndarray:
        """Return the squared length of what the axes leave of centred unit-length features, float64 (n,), 0 … 4."""
        rows = _unit(features)
        whole = 1 - 2 * rows @ self.mean + self.mean @ self.mean
        return np.asarray(whole - np.square((rows - self.mean) @ self.axes).sum(axis=1))


@dataclass(frozen=True)
class Novelty:
    """A calibrated score: above 0, an image is taken for none of the classes.

    Attributes:
        subspace: of the training features.
        energy: mean and standard deviation of the energies of known images.
        residual: the same of their residuals.
        threshold: subtracted from the score, so that the share ``rate`` of known images is above 0.
        rate: false-alarm rate that was asked for, 0 … 1.
        images: number of images that it was calibrated on.
    """

    subspace: Subspace
    energy: tuple[float, float]
    residual: tuple[float, float]
    threshold: float
    rate: float
    images: int

    @classmethod
    def calibrate(cls, subspace: Subspace, energies: np.ndarray, residuals: np.ndarray, rate: float) -> Novelty:
        """Choose the threshold on images of the known classes that neither model nor subspace was made from.

        The threshold is the ⌈(n + 1)(1 − rate)⌉-th smallest score, the quantile of conformal prediction (Vovk et al., "Algorithmic
        learning in a random world", 2005): the false-alarm rate on further images is then at most ``rate`` on average.

        Args:
            subspace: of the features that the model will have.
            energies: float (n,), of the held-out images.
            residuals: float (n,), of the same images, each from a subspace made without it.
            rate: above 0 and below 1.

        Raises:
            UserError: too few images for the rate, or a rate out of range.
        """
        if not 0 < rate < 1:
            raise UserError(f"reject_rate: expected a number above 0 and below 1, got {rate!r}")
        n = len(energies)
        place = math.ceil((n + 1) * (1 - rate))
        if place > n:
            raise UserError(
                f"reject_rate {rate:g} needs at least {math.ceil(1 / rate) - 1} held-out images, got {n}: ask for a larger rate"
            )
        found = cls(subspace, _moments(energies), _moments(residuals), 0.0, rate, n)
        threshold = float(np.sort(found.score(energies, residuals))[place - 1])
        return cls(subspace, found.energy, found.residual, threshold, rate, n)

    def score(self, energies: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Return the novelty of images, float64 (n,)."""
        energy, residual = ((x - mean) / spread for x, (mean, spread) in
                            ((energies, self.energy), (residuals, self.residual)))  # fmt: skip
        return np.asarray(energy + WEIGHT * np.maximum(residual - FROM, 0) - self.threshold)

    def __call__(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the novelty of images from their features (n, d) and logits (n, C), float64 (n,)."""
        return self.score(energy_of(logits), self.subspace.residual(features))


def energy_of(logits: np.ndarray) -> np.ndarray:
    """Return −log Σ exp of logits (n, C), float64 (n,)."""
    return np.asarray(-logsumexp(np.asarray(logits, np.float64), axis=1))


def held_out_residuals(features: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the residual of each row from a subspace made without its fold, float64 (n,).

    It has as many axes as that of all rows (:meth:`Subspace.of`), as far as there are. The more folds, the more it is like that: with
    few of them, residuals are larger than those of further images will be, and fewer of these are rejected than was asked for.

    Args:
        features: float (n, d).
        folds: integers (n,).
    """
    found, rows, count = np.empty(len(features)), _unit(features), axes_for(*np.shape(features))
    for number in np.unique(folds):
        held = folds == number
        found[held] = Subspace._with(rows[~held], count).residual(features[held])
    return found


def axes_for(samples: int, width: int) -> int:
    """Return the number of axes of a subspace for features (samples, width)."""
    return max(1, int(AXES * min(samples - 1, width)))


def residual_folds(samples: int) -> int:
    """Return in how many folds residuals are held out: the fewer samples, the more a fold is missed, and the less one costs."""
    return 20 if samples <= 500 else 10 if samples <= 2000 else 5


def _unit(features: np.ndarray) -> np.ndarray:
    rows = np.asarray(features, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _moments(values: np.ndarray) -> tuple[float, float]:
    return float(np.mean(values)), max(float(np.std(values)), 1e-9)
