"""A labelled set of features in the form that every solver works on: centred, of unit size, in principal axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.solved.head import SolvedHead

_BLOCK = 4096  # rows or columns that are computed at once


@dataclass(frozen=True)
class Problem:
    """Features, labels and weights, prepared.

    The features are centred by their weighted mean and divided by one number, so that the weighted mean of their squared norm is 1
    and a strength of regularization means the same for every backbone. They are given in the principal axes of their span: where
    there are fewer rows than features (n < d), these are only n numbers a row. A linear head with an L2 penalty lies in that span,
    so nothing is lost.

    Attributes:
        rows: float64 (n, r), r = min(n, d); only rows with a weight above 0.
        labels: int64 (n,), positions in ``present``.
        weights: float64 (n,), sum 1.
        variances: float64 (r,), ascending: the weighted variance of each column of ``rows``, which are uncorrelated.
        present: int64 (k,), ascending: the classes with rows.
        classes: number of classes, C.
        axes: float64 (d, r), orthonormal columns.
        mean: float64 (d,).
        scale: the number that the features were divided by.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    variances: np.ndarray
    present: np.ndarray
    classes: int
    axes: np.ndarray
    mean: np.ndarray
    scale: float

    @property
    def one_hot(self) -> np.ndarray:
        """The labels as float64 (n, k)."""
        return np.asarray(np.eye(len(self.present))[self.labels])

    def class_means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted means of the present classes, float64 (k, r), and their shares of the weight, float64 (k,)."""
        weighted = self.one_hot * self.weights[:, None]
        shares = weighted.sum(axis=0)
        return (weighted / shares).T @ self.rows, shares

    def head(self, kernel: np.ndarray, bias: np.ndarray, solver: str, strength: float) -> SolvedHead:
        """Return the head on the original features.

        Softmax does not change when the same number is added to all logits of a row. The present classes get logits that sum to 0,
        so the largest is never negative. A class without rows gets the logit −log(n + 1) for every input: it is never predicted, and its
        probability stays below 1/(n + 1), about what n samples without one of this class say (Laplace's rule of succession).

        Args:
            kernel: float64 (r, k), on ``rows``.
            bias: float64 (k,).
            solver: its name.
            strength: of the regularization.
        """
        kernel, bias = (part - part.mean(axis=-1, keepdims=True) for part in (kernel, bias))
        whole = np.zeros((len(self.mean), self.classes))
        whole[:, self.present] = self.axes @ kernel / self.scale
        offset = np.full(self.classes, -math.log(len(self.rows) + 1))
        offset[self.present] = bias - self.mean @ whole[:, self.present]
        return SolvedHead(whole, offset, solver, float(strength))


def pose(features: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None = None) -> Problem:
    """Prepare features for a solver.

    Args:
        features: float (n, d), finite.
        labels: integers (n,), 0 … classes − 1.
        classes: number of classes, C.
        weights: float (n,), not negative, at least one above 0; None: all the same.

    Raises:
        UserError: shapes that do not fit, a label out of range, a feature or weight that is not finite, no weight above 0.
    """
    rows, labels, shares = _checked(features, labels, classes, weights)
    constant = np.ptp(rows, axis=0) == 0  # rounding of the mean must not pass for a signal
    mean = shares @ rows
    rows -= mean
    rows[:, constant] = 0
    scale = _size(rows, shares)
    rows /= scale
    axes = None
    if len(rows) < rows.shape[1]:
        axes, triangle = np.linalg.qr(rows.T)
        rows = np.ascontiguousarray(triangle.T)
    variances, turn = np.linalg.eigh((rows * shares[:, None]).T @ rows)
    for first in range(0, len(rows), _BLOCK):
        rows[first : first + _BLOCK] = rows[first : first + _BLOCK] @ turn
    axes = turn if axes is None else axes @ turn
    present, numbers = np.unique(labels, return_inverse=True)
    return Problem(rows, numbers, shares, np.maximum(variances, 0), present, classes, axes, mean, scale)


def in_sample_span(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return features in coordinates of the span of their rows: float64 (n, min(n, d)), the same up to a rotation.

    Solvers that only see scalar products of rows, as all with an L2 penalty do, predict any of these rows as they would from the features
    themselves, in less time. It is computed from the scalar products, so that blocks can be joined without being copied.

    Args:
        blocks: float (n, dᵢ) each, columns of the features; d is the sum of the dᵢ.
    """
    count, width = len(blocks[0]), sum(block.shape[1] for block in blocks)
    if width <= count:
        return np.concatenate([np.asarray(block, np.float64) for block in blocks], axis=1)
    products = np.zeros((count, count))
    for block in blocks:
        for first in range(0, block.shape[1], _BLOCK):
            part = np.asarray(block[:, first : first + _BLOCK], np.float64)
            products += part @ part.T
    sizes, axes = np.linalg.eigh(products)
    return np.asarray(axes * np.sqrt(np.maximum(sizes, 0)))


def _checked(
    features: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a float64 copy of the rows with a weight, their labels, and their shares of the weight."""
    labels = np.asarray(labels)
    given = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    if np.ndim(features) != 2 or labels.shape != (len(features),) or given.shape != labels.shape:
        raise UserError(
            f"expected features (n, d), labels (n,) and weights (n,), got {np.shape(features)}, {labels.shape}, {given.shape}"
        )
    if not np.isfinite(given).all() or given.min(initial=0) < 0 or not given.any():
        raise UserError("weights: expected finite numbers, none below 0 and one above it")
    kept = given > 0
    rows, labels, given = np.array(features[kept], np.float64), labels[kept].astype(np.int64), given[kept]
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"labels: expected 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    if not np.isfinite(rows).all():
        raise UserError("the features have infinite or undefined values (NaN)")
    return rows, labels, given / given.max() / (given / given.max()).sum()


def _size(rows: np.ndarray, shares: np.ndarray) -> float:
    """Return the root mean square norm of the rows, or 1 if all are 0; the largest value is divided out against under- and overflow."""
    largest = float(max(rows.max(), -rows.min()))
    if largest == 0:
        return 1.0
    squares = np.zeros(len(rows))
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK] / largest
        squares[first : first + _BLOCK] = np.einsum("ij,ij->i", block, block)
    return largest * math.sqrt(float(shares @ squares))
