"""Likely label errors by confident learning (Northcutt, Jiang & Chuang, JAIR 2021)."""

from __future__ import annotations

import numpy as np

from keras_transfer.evaluation.metrics import blocks, log_softmax

__all__ = ["likely_label_errors"]


def likely_label_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find samples whose label the model confidently contradicts, largest margin first.

    A sample is suspect if its probability for another class is above that for its label, and reaches the mean that
    the samples labelled with the other class have for it.

    Args:
        logits: (n, C), predicted by a model that was not trained on these samples.
        labels: int64 (n,).

    Returns:
        int64 (k,), indices of the suspects.
    """
    own = np.empty(len(labels))
    for rows in blocks(*logits.shape):
        own[rows] = np.exp(log_softmax(logits[rows]))[np.arange(rows.stop - rows.start), labels[rows]]
    counts = np.bincount(labels, minlength=logits.shape[1])
    thresholds = np.bincount(labels, own, minlength=logits.shape[1]) / np.maximum(counts, 1)
    margin, other = np.empty(len(labels)), np.empty(len(labels), np.int64)
    for rows in blocks(*logits.shape):
        probabilities = np.exp(log_softmax(logits[rows]))
        confident = np.where((probabilities >= thresholds) & (counts > 0), probabilities, 0.0)
        margin[rows], other[rows] = confident.max(axis=1) - own[rows], confident.argmax(axis=1)
    suspects = np.flatnonzero((other != labels) & (margin > 0))
    return suspects[np.argsort(-margin[suspects], kind="stable")]
