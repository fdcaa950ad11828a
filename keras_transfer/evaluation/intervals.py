"""95 % intervals of figures that come without one: percentile bootstrap over images (Efron 1979)."""

from __future__ import annotations

import numpy as np

_RESAMPLES = 1000
_BLOCK = 1 << 22


def of_confusion(confusion: np.ndarray, seed: int = 0) -> dict[str, list[float]]:
    """Intervals of ``macro_f1`` and ``balanced_accuracy``.

    Drawing images with replacement is drawing the cells of the matrix, so the matrix is all that is needed.

    Args:
        confusion: (C, C) counts, rows true, columns predicted, at least one in all.
        seed: of the draws.

    Returns:
        [low, high] for each.
    """
    counts = np.asarray(confusion, np.int64)
    true, predicted = np.nonzero(counts)
    share = counts[true, predicted] / counts.sum()
    rng = np.random.default_rng(seed)
    drawn = [_scores(rng.multinomial(counts.sum(), share), true, predicted, len(counts)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return {name: [float(low[k]), float(high[k])] for k, name in enumerate(("macro_f1", "balanced_accuracy"))}


def _scores(cells: np.ndarray, true: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """Macro F1 and balanced accuracy of one draw."""
    right = np.bincount(true, cells * (true == predicted), classes)
    support, taken = np.bincount(true, cells, classes), np.bincount(predicted, cells, classes)
    seen, there = support + taken > 0, support > 0
    return float((2 * right[seen] / (support + taken)[seen]).mean()), float((right[there] / support[there]).mean())


def of_proportion(value: float, n: int, seed: int = 0) -> list[float]:
    """[low, high] of a share of n images."""
    drawn = np.random.default_rng(seed).binomial(n, value, _RESAMPLES) / n
    return [float(q) for q in np.percentile(drawn, [2.5, 97.5])]


def of_mean(values: np.ndarray, seed: int = 0) -> list[float]:
    """[low, high] of the mean of one value an image, (n,) with n > 0."""
    values = np.asarray(values, np.float64)
    rng, n = np.random.default_rng(seed), len(values)
    step = max(1, _BLOCK // n)
    means = [
        values[rng.integers(0, n, (min(step, _RESAMPLES - start), n))].mean(axis=1)
        for start in range(0, _RESAMPLES, step)
    ]
    return [float(q) for q in np.percentile(np.concatenate(means), [2.5, 97.5])]
