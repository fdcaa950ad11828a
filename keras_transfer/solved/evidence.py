"""What predictions on known labels say about a classifier, with standard errors, and how to choose between candidates by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.stratify import is_multi


@dataclass(frozen=True)
class Evidence:
    """Accuracy and log-loss on samples that the classifier was not made from.

    Attributes:
        n: number of samples.
        accuracy: share of right predictions, 0 … 1.
        accuracy_error: its standard error; infinite for a single sample. Where all are right, or all wrong, the usual formula says 0:
            then it is half of Wilson's interval (1927) at one standard error, 1 / (2n + 2).
        log_loss: mean of −log p(label), in nats.
        log_loss_error: its standard error.
    """

    n: int
    accuracy: float
    accuracy_error: float
    log_loss: float
    log_loss_error: float

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.4f} ± {self.accuracy_error:.4f}, log-loss {self.log_loss:.4f} ± {self.log_loss_error:.4f},"
            f" {self.n} images"
        )


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return −log p(label) of each sample, float64 (n,); of several labels, the mean over them.

    Args:
        logits: float (n, C), or (repeats, n, C): several predictions for each sample, whose losses are averaged.
        labels: integers (n,), or 0 and 1 (n, C): several labels for a sample.
    """
    from scipy.special import logsumexp

    logits = _checked(logits, labels)
    if is_multi(labels):
        each = np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean(axis=-1)
        return np.asarray(each.reshape(-1, len(labels)).mean(axis=0))
    own = np.take_along_axis(logits, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    return np.asarray((logsumexp(logits, axis=-1) - own).reshape(-1, len(labels)).mean(axis=0))


def hits(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether each sample is predicted right, float64 (n,), 0 or 1; with repeats (see :func:`losses`), their mean.

    Of several labels, all have to be right.
    """
    if is_multi(labels):
        right = ((_checked(logits, labels) > 0) == labels).all(axis=-1)
        return np.asarray(right.reshape(-1, len(labels)).mean(axis=0))
    return np.asarray((_checked(logits, labels).argmax(axis=-1) == labels).reshape(-1, len(labels)).mean(axis=0))


def measure(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Evidence:
    """Measure predictions.

    Args:
        logits: float (n, C), or (repeats, n, C), see :func:`losses`.
        labels: integers (n,).
        weights: float (n,), not negative; None: all the same.
    """
    accuracy, error = _mean(hits(logits, labels), weights)
    error = error or 1 / (2 * len(labels) + 2)
    return Evidence(
        len(labels), min(1.0, accuracy), error, *_mean(losses(logits, labels), weights)
    )  # a sum of weights may round up


def difference(
    a_logits: np.ndarray, b_logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float, float, float]:
    """Compare two classifiers on the same samples.

    The samples are paired: what is hard for both does not add to the error of the difference.

    Returns:
        Log-loss of a minus that of b, its standard error, accuracy of a minus that of b, its standard error.
    """
    loss, loss_error = _mean(losses(a_logits, labels) - losses(b_logits, labels), weights)
    accuracy, accuracy_error = _mean(hits(a_logits, labels) - hits(b_logits, labels), weights)
    return loss, loss_error, accuracy, accuracy_error


def within_one_error(
    costs: Sequence[float], losses_per_sample: Sequence[np.ndarray] | np.ndarray, weights: np.ndarray | None = None
) -> int:
    """Return the index of the cheapest candidate that is not clearly worse than the best.

    The one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), on paired differences: of the candidates
    whose mean loss exceeds the lowest by no more than the standard error of that difference, the cheapest; of equally cheap ones, the
    one with the lowest loss.

    Args:
        costs: of each candidate, in any unit.
        losses_per_sample: of each candidate, float (K, n) on the same samples.
        weights: float (n,); None: all the same.
    """
    table = np.asarray(losses_per_sample, np.float64)
    if table.ndim != 2 or not len(table) or len(table) != len(costs):
        raise UserError(
            f"expected a cost and the losses of all samples for each candidate, got {len(costs)} and {table.shape}"
        )
    means = [_mean(row, weights)[0] for row in table]
    best = int(np.argmin(means))
    close = [k for k, row in enumerate(table) if k == best or _no_worse(row - table[best], weights)]
    return min(close, key=lambda k: (costs[k], means[k]))


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the mean distance between confidence and accuracy, 0 … 1, over bins of equal width of the confidence.

    Guo et al., "On calibration of modern neural networks", ICML 2017, https://arxiv.org/abs/1706.04599.
    """
    from scipy.special import softmax

    confidence = softmax(np.asarray(logits, np.float64), axis=1).max(axis=1)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = hits(logits, labels) - confidence
    return float(np.abs(np.bincount(place, gap, bins)).sum() / len(labels))


def _no_worse(differences: np.ndarray, weights: np.ndarray | None) -> bool:
    mean, error = _mean(differences, weights)
    return mean <= error


def _mean(values: np.ndarray, weights: np.ndarray | None) -> tuple[float, float]:
    """Return the weighted mean and its standard error."""
    shares = np.full(len(values), 1 / len(values)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    mean = float(shares @ values)
    independent = 1 / float(shares @ shares)  # Kish's effective number of samples, n without weights
    if independent <= 1 + 1e-9:
        return mean, math.inf
    return mean, math.sqrt(float(np.square(shares) @ np.square(values - mean)) * independent / (independent - 1))


def _checked(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    if logits.ndim not in (2, 3) or logits.shape[-2] != len(labels) or not len(labels):
        raise UserError(f"expected logits (n, C) and labels (n,), got {logits.shape} and {np.shape(labels)}")
    return logits
