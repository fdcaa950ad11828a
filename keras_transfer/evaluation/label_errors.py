"""Likely label errors by confident learning (Northcutt, Jiang & Chuang, JAIR 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.evaluation.metrics import blocks, log_softmax

__all__ = ["likely_label_errors"]


def likely_label_errors(logits: np.ndarray | Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Find samples whose label the model confidently contradicts, largest margin first.

    A sample is suspect if its probability for another class is above that for its label, and reaches the mean that
    the samples labelled with the other class have for it.

    Args:
        logits: (n, C), or several of them, one after the other; predicted by a model that was not trained on these samples.
        labels: int64 (n,).

    Returns:
        int64 (k,), indices of the suspects.
    """
    if labels.ndim == 2:
        raise UserError("likely label errors are not looked for yet where an image may have several labels")
    parts = [logits] if isinstance(logits, np.ndarray) else list(logits)
    classes = parts[0].shape[1]
    own, margin, other = np.empty(len(labels)), np.empty(len(labels)), np.empty(len(labels), np.int64)
    for rows, probabilities in _blocks(parts):
        own[rows] = probabilities[np.arange(len(probabilities)), labels[rows]]
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.bincount(labels, own, minlength=classes) / np.maximum(counts, 1)
    for rows, probabilities in _blocks(parts):
        confident = np.where((probabilities >= thresholds) & (counts > 0), probabilities, 0.0)
        margin[rows], other[rows] = confident.max(axis=1) - own[rows], confident.argmax(axis=1)
    suspects = np.flatnonzero((other != labels) & (margin > 0))
    return suspects[np.argsort(-margin[suspects], kind="stable")]


def _blocks(parts: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield places and probabilities of some samples at a time: those of all may not fit in memory."""
    start = 0
    for part in parts:
        for rows in blocks(*part.shape):
            yield slice(start + rows.start, start + rows.stop), np.exp(log_softmax(part[rows]))
        start += len(part)
