"""Features like those of a backbone: few strong directions, many weak ones, not centred, with overlapping classes."""

from __future__ import annotations

import numpy as np


def blobs(n: int, d: int, classes: int, apart: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 (n, d) and labels int64 (n,); every class occurs if n ≥ classes."""
    rng = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(d))
    labels = rng.permutation(np.arange(n) % classes)
    means = rng.normal(size=(classes, d)) * spectrum
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (rng.normal(size=(n, d)) * spectrum + apart * means[labels]) @ turn + rng.normal(size=d), labels


def standard(features: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Centred features of root mean square norm 1, their mean and scale: the definition, written down once more."""
    shares = np.full(len(features), 1 / len(features)) if weights is None else weights / weights.sum()
    mean = (shares[:, None] * features).sum(axis=0)
    scale = float(np.sqrt((shares * ((features - mean) ** 2).sum(axis=1)).sum()))
    return (features - mean) / scale, mean, scale


def zero_sum(logits: np.ndarray) -> np.ndarray:
    """Logits without what softmax does not see."""
    return logits - logits.mean(axis=-1, keepdims=True)
