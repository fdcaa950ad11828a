"""Confusion matrices by their cells: of thousands of classes nearly all are 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DENSE_UP_TO", "Cells"]

DENSE_UP_TO = 200
"""Maximum number of classes for which a matrix is stored with a number for every cell."""


@dataclass(frozen=True)
class Cells:
    """The cells of a confusion matrix that are not 0, sorted by row and column.

    Attributes:
        classes: number of classes C.
        true: int64 (k,), rows.
        predicted: int64 (k,), columns.
        count: int64 or float64 (k,), above 0.
    """

    classes: int
    true: np.ndarray
    predicted: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, true: np.ndarray, predicted: np.ndarray, classes: int) -> Cells:
        """Count the pairs of labels (n,) and predictions (n,)."""
        pairs, count = np.unique(true.astype(np.int64) * classes + predicted, return_counts=True)
        return cls(classes, pairs // classes, pairs % classes, count)

    @classmethod
    def read(cls, stored: Any) -> Cells:
        """Return the cells of a matrix (C, C), or of what :meth:`stored` returned.

        Raises:
            ValueError: neither.
        """
        if isinstance(stored, Cells):
            return stored
        if isinstance(stored, Mapping):
            columns = [np.asarray(stored[name]).reshape(-1) for name in ("true", "predicted", "count")]
            return cls(int(stored["classes"]), columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2])
        matrix = np.asarray(stored)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"expected a confusion matrix (C, C), got {matrix.shape}")
        true, predicted = np.nonzero(matrix)
        return cls(len(matrix), true, predicted, matrix[true, predicted])

    def stored(self) -> Any:
        """Return what JSON keeps: C lists of C counts; of many classes a mapping with the cells that are not 0."""
        if self.classes <= DENSE_UP_TO:
            return self.dense().tolist()
        return {
            "classes": self.classes,
            "true": self.true.tolist(),
            "predicted": self.predicted.tolist(),
            "count": self.count.tolist(),
        }

    def dense(self) -> np.ndarray:
        """Return the matrix (C, C)."""
        matrix = np.zeros((self.classes, self.classes), self.count.dtype)
        matrix[self.true, self.predicted] = self.count
        return matrix

    def totals(self) -> np.ndarray:
        """Return the samples of each class, (C,)."""
        return np.bincount(self.true, self.count, self.classes)

    def right(self) -> float:
        """Return the samples on the diagonal."""
        return float(self.count[self.true == self.predicted].sum())

    def mistakes(self) -> Cells:
        """Return the cells off the diagonal."""
        off = self.true != self.predicted
        return Cells(self.classes, self.true[off], self.predicted[off], self.count[off])

    def shares(self, limit: int) -> np.ndarray:
        """Return each cell's share of its true class, float64 (m, m), not a number in rows without samples.

        With more than `limit` classes, a value is the largest share in a block of neighbouring classes, so that no mistake disappears.
        """
        block = -(-self.classes // limit)
        side = -(-self.classes // block)
        totals = self.totals()
        grid = np.zeros((side, side))
        np.maximum.at(grid, (self.true // block, self.predicted // block), self.count / totals[self.true])
        grid[np.bincount(np.arange(self.classes) // block, totals, side) == 0] = np.nan
        return grid
