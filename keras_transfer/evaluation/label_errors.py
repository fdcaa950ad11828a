"""Likely label errors by confident learning (Northcutt, Jiang & Chuang, JAIR 2021)."""

from __future__ import annotations

import numpy as np

__all__ = ["likely_label_errors"]


def likely_label_errors(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find samples whose label the model confidently contradicts, largest margin first.

    A sample is suspect if its probability for another class is above that for its label, and reaches the mean that
    the samples labelled with the other class have for it.

    Args:
        probabilities: (n, C), predicted by a model that was not trained on these samples.
        labels: int64 (n,).

    Returns:
        int64 (k,), indices of the suspects.
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    thresholds = np.bincount(labels, own, minlength=probabilities.shape[1]) / np.maximum(counts, 1)
    confident = np.where((probabilities >= thresholds) & (counts > 0), probabilities, 0.0)
    margin = confident.max(axis=1) - own
    suspects = np.flatnonzero((confident.argmax(axis=1) != labels) & (margin > 0))
    return suspects[np.argsort(-margin[suspects], kind="stable")]
