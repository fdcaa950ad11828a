"""Likely label errors, from the probabilities of a model."""

from __future__ import annotations

import numpy as np


def doubtful_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the indices of likely label errors, the most confident first.

    Confident learning (C. Northcutt, L. Jiang and I. Chuang, 2021): a sample probably belongs to another class if its
    probability of that class reaches the mean over the samples labelled as that class.

    Args:
        probabilities: (n, C), of a model that was not trained on these samples.
        labels: int64 (n,).
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    means = np.bincount(labels, own, minlength=probabilities.shape[1]) / np.maximum(counts, 1)
    confident = np.where((probabilities >= means) & (counts > 0), probabilities, 0.0)
    margin = confident.max(axis=1) - own
    suspects = np.flatnonzero((confident.argmax(axis=1) != labels) & (margin > 0))
    return suspects[np.argsort(-margin[suspects], kind="stable")]
