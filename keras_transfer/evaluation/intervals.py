"""95 % confidence intervals by the percentile bootstrap over samples (Efron 1979)."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.evaluation.confusion import Cells

_RESAMPLES = 1000
_BLOCK = 1 << 22  # values drawn at once


def of_confusion(confusion: Any, seed: int = 0) -> dict[str, list[float]]:
    """Return intervals of ``macro_f1`` and ``balanced_accuracy``.

    Resampling images is resampling cells of the confusion matrix, so the matrix is sufficient.

    Args:
        confusion: (C, C) counts, rows true, columns predicted, not all 0; or its cells, see `Cells.read`.
        seed: seed of the resamples.

    Returns:
        [low, high] of each.
    """
    cells = Cells.read(confusion)
    total = int(cells.count.sum())
    share = cells.count / total
    rng = np.random.default_rng(seed)
    drawn = [
        _scores(rng.multinomial(total, share), cells.true, cells.predicted, cells.classes) for _ in range(_RESAMPLES)
    ]
    return {
        name: _percentiles(np.array(column)) for name, column in zip(("macro_f1", "balanced_accuracy"), zip(*drawn))
    }


def _scores(cells: np.ndarray, true: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """Return macro F1 and balanced accuracy of a resample."""
    right = np.bincount(true, cells * (true == predicted), classes)
    support, taken = np.bincount(true, cells, classes), np.bincount(predicted, cells, classes)
    seen, there = support + taken > 0, support > 0
    return float((2 * right[seen] / (support + taken)[seen]).mean()), float((right[there] / support[there]).mean())


def of_proportion(value: float, n: int, resamples: int = _RESAMPLES, seed: int = 0) -> list[float]:
    """Return [low, high] of a proportion of n samples, whose resampled counts are exactly binomial."""
    return _percentiles(np.random.default_rng(seed).binomial(n, value, resamples) / n)


def of_mean(values: np.ndarray, seed: int = 0) -> list[float]:
    """Return [low, high] of the mean of values (n,), n > 0."""
    return of_weighted_mean(values, np.ones(len(values)), _RESAMPLES, seed)


def of_weighted_mean(values: np.ndarray, weights: np.ndarray, resamples: int, seed: int = 0) -> list[float]:
    """Return [low, high] of the weighted mean of values (n,) with weights (n,) >= 0, not all 0."""
    rng, n = np.random.default_rng(seed), len(values)
    both = np.stack([weights * values, weights], axis=1)
    step = max(1, _BLOCK // n)
    sums = [
        both[rng.integers(0, n, (min(step, resamples - start), n))].sum(axis=1) for start in range(0, resamples, step)
    ]
    top, bottom = np.concatenate(sums).T
    return _percentiles(top[bottom > 0] / bottom[bottom > 0])  # a resample of zero weights has no mean


def _percentiles(drawn: np.ndarray) -> list[float]:
    return [float(q) for q in np.percentile(drawn, [2.5, 97.5])]
