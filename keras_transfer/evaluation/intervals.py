"""95 % confidence intervals: of proportions by Wilson, of other figures by the percentile bootstrap over samples (Efron 1979).

A bootstrap of 12 right predictions of 12 says 100 % to 100 %; Wilson's interval says 75.8 % to 100 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.evaluation.confusion import Cells

_Z = 1.959963984540054  # quantile 0.975 of the normal distribution
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


def of_proportion(value: float, n: float) -> list[float]:
    """Return the score interval [low, high] of a proportion.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. It has a width for 0 and 1 too, and
    keeps its coverage for a few samples.

    Args:
        value: the proportion, 0..1.
        n: number of samples, > 0; for weighted samples their effective number.
    """
    share = min(max(float(value), 0.0), 1.0)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)))
    return [0.0 if share == 0 else max(middle - half, 0.0), 1.0 if share == 1 else min(middle + half, 1.0)]


def of_weighted_proportion(right: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return [low, high] of the weighted share of true values (n,), with weights (n,) >= 0, not all 0.

    It is the interval for as many samples of equal weight as have the same variance: Kish, "Survey Sampling", 1965.
    """
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return of_proportion(float(np.average(right, weights=weights)), effective)


def of_mean(values: np.ndarray, seed: int = 0) -> list[float]:
    """Return [low, high] of the mean of values (n,), n > 0."""
    rng, n = np.random.default_rng(seed), len(values)
    step = max(1, _BLOCK // n)
    means = [
        values[rng.integers(0, n, (min(step, _RESAMPLES - start), n))].mean(axis=1)
        for start in range(0, _RESAMPLES, step)
    ]
    return _percentiles(np.concatenate(means))


def _percentiles(drawn: np.ndarray) -> list[float]:
    return [float(q) for q in np.percentile(drawn, [2.5, 97.5])]
