"""Temperature scaling: one number that makes probabilities as certain as they are right."""

from __future__ import annotations

import math

import numpy as np

from keras_transfer.stratify import is_multi

LOWEST, HIGHEST = 0.01, 100.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the temperature that minimizes the log-loss of ``logits / temperature``, between 0.01 and 100.

    Guo et al., "On calibration of modern neural networks", ICML 2017, https://arxiv.org/abs/1706.04599. If all predictions are right, the
    log-loss falls for ever as the temperature does, though n right predictions do not say that the next one is certain. As in Platt,
    "Probabilistic outputs for support vector machines" (1999), the target is therefore not 1 but (n + 1)/(n + 2), and the rest is spread over
    the other classes: what a uniform prior on the share of right predictions leaves after n of n. Where some predictions are wrong, this
    hardly matters.

    Args:
        logits: float (n, C), of samples that the classifier was not made from; or (repeats, n, C).
        labels: integers (n,), or 0 and 1 (n, C): several labels for a sample, whose logits are divided by one temperature.
        weights: float (n,), not negative; None: all the same.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = np.asarray(logits, np.float64)
    if is_multi(labels):
        return _of_several(logits, labels, weights)
    logits = logits - logits.mean(axis=-1, keepdims=True)
    classes = logits.shape[-1]
    shares = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    rest = 1 / (1 / float(shares @ shares) + 2)  # the effective number of samples is n without weights
    own = np.take_along_axis(logits, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    # The logits sum to 0, so those of the other classes have the mean −own/(C − 1).
    expected = own * (1 - rest - rest / max(1, classes - 1))

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        per_sample = logsumexp(logits * inverse, axis=-1) - expected * inverse
        return float((per_sample.reshape(-1, len(labels)) @ shares).mean())

    # Convex in the inverse temperature, so there is one minimum.
    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(found.x))


def _of_several(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the temperature for several labels, with Platt's targets: (n + 1)/(n + 2) in place of 1, and 1/(n + 2) in place of 0."""
    from scipy.optimize import minimize_scalar

    shares = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    rest = 1 / (1 / float(shares @ shares) + 2)
    targets = np.where(labels > 0, 1 - rest, rest)

    def loss(log_temperature: float) -> float:
        scaled = logits * math.exp(-log_temperature)
        per_sample = (np.logaddexp(0, scaled) - targets * scaled).mean(axis=-1)
        return float((per_sample.reshape(-1, len(labels)) @ shares).mean())

    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(found.x))
