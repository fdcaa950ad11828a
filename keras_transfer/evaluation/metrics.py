"""Classification metrics from logits, with NumPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.evaluation.confusion import Cells
from keras_transfer.evaluation.intervals import of_proportion, of_weighted_proportion

__all__ = [
    "CALIBRATION_BINS",
    "NotFinite",
    "blocks",
    "classification_metrics",
    "log_softmax",
    "most_confused",
    "require_finite",
]

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017, "On Calibration of Modern Neural Networks"."""

_BLOCK = 1 << 22  # values processed at once (32 MB as float64), to avoid a second copy of 50,000 x 1,000 logits


@dataclass(frozen=True)
class _Scores:
    """What the metrics need of each sample; all arrays have shape (n,)."""

    predicted: np.ndarray  # int64, the first class with the largest logit
    loss: np.ndarray  # float64, cross-entropy in nats
    confidence: np.ndarray  # float64, probability of the predicted class
    rank: np.ndarray  # int64, number of classes ranked above the true one


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities over the last axis in float64, stable for logits of any finite size.

    Raises:
        NotFinite: infinite logits, or some that are not numbers: they have no probabilities.
    """
    x: np.ndarray = np.asarray(logits, np.float64)
    require_finite(x)
    x = x - x.max(axis=-1, keepdims=True)
    shifted: np.ndarray = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return shifted


class NotFinite(UserError):
    """A model returned infinities, or values that are not numbers."""


def require_finite(logits: np.ndarray) -> None:
    """Raise NotFinite unless all logits (n, C) are finite."""
    table = logits.reshape(-1, logits.shape[-1])
    rows = np.ones(len(table), bool)
    for part in blocks(*table.shape):
        rows[part] = np.isfinite(table[part]).all(axis=1)
    if not rows.all():
        raise NotFinite(
            f"the model's outputs are not finite for {int((~rows).sum())} of {len(rows)} samples: training has diverged"
            " (try a lower learning rate, or precision: float32), or the model file is damaged"
        )


def classification_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Compute metrics of logits and labels.

    Args:
        logits: (n, C), any float type, finite.
        labels: (n,) integers in 0..C-1.
        classes: the C class names, in the order of the logits.
        weights: (n,) sample weights >= 0 with a positive sum, or None.

    Returns:
        A JSON-serializable dictionary:
            n: number of samples.
            log_loss: mean cross-entropy in nats, without label smoothing; `loss`, its former name, is the same.
            accuracy, top5_accuracy: in 0..1; top5 is None if C <= 5.
            accuracy_ci95: [low, high], Wilson's score interval; with weights, that of the effective number of samples.
            ece: expected calibration error over `CALIBRATION_BINS` bins; calibration: the bins themselves, as
                {"count", "confidence", "accuracy"} lists (None in empty bins).
            macro_f1: mean F1 over the classes that occur as a label or as a prediction.
            balanced_accuracy: mean recall over the classes that occur as a label.
            per_class: {name: {"precision", "recall", "f1", "support"}}; a ratio with denominator 0 is 0.
            confusion: C x C counts, rows true, columns predicted; with more than 200 classes
                {"classes", "true", "predicted", "count"}, the cells that are not 0.
            weighted: only with `weights`: log_loss, accuracy, top5_accuracy, accuracy_ci95, ece, macro_f1 and
                balanced_accuracy with sample weights.

    Raises:
        UserError: no samples, a label out of range, invalid weights, or logits that are not finite.
        ValueError: shapes that do not match.
    """
    logits, labels, weights = _checked(logits, labels, classes, weights)
    scores = _score(logits, labels)
    names = [str(c) for c in classes]
    result: dict[str, Any] = {"n": len(labels), **_summary(scores, labels, len(names), None)}
    result["calibration"] = _calibration(scores, labels, np.ones(len(labels)))
    columns = _by_class(scores.predicted, labels, len(names))
    result["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(names, *columns)
    }
    result["confusion"] = Cells.of(labels, scores.predicted, len(names)).stored()
    if weights is not None:
        result["weighted"] = _summary(scores, labels, len(names), weights)
    return result


def most_confused(confusion: Any, classes: Sequence[str], limit: int = 15) -> list[dict[str, Any]]:
    """Return the largest off-diagonal cells of a confusion matrix, in descending order.

    Args:
        confusion: (C, C), rows true, columns predicted; or its cells, in either form of `Cells.read`.
        classes: the C class names.
        limit: maximum number of cells.

    Returns:
        `{"true", "predicted", "count", "share"}` for each, where share is the fraction of the true class. Ties are
        sorted by share, then by class.
    """
    cells = Cells.read(confusion)
    totals, wrong = cells.totals(), cells.mistakes()
    rows, columns, counts = wrong.true, wrong.predicted, wrong.count.astype(np.float64)
    shares = counts / totals[rows]
    order = np.lexsort((columns, rows, -shares, -counts))[:limit]
    return [
        {
            "true": classes[rows[k]],
            "predicted": classes[columns[k]],
            "count": int(counts[k]) if counts[k].is_integer() else float(counts[k]),
            "share": float(shares[k]),
        }
        for k in order
    ]


def _checked(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    logits, labels = np.asarray(logits), np.asarray(labels)
    n, count = len(labels), len(classes)
    if logits.shape != (n, count) or labels.ndim != 1:
        raise ValueError(
            f"expected logits (n, {count}) and labels (n,), got {logits.shape} and {labels.shape}, {count} classes"
        )
    if n == 0:
        raise UserError("there are no samples to evaluate: expected a split with at least one")
    if labels.min() < 0 or labels.max() >= count:
        raise UserError(f"labels must be in 0..{count - 1} for {count} classes, got {labels.min()}..{labels.max()}")
    require_finite(logits)
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.shape != (n,):
            raise ValueError(f"expected weights ({n},), got {weights.shape}")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise UserError("sample weights must be finite and >= 0, and not all 0")
    return logits, labels.astype(np.int64), weights


def blocks(samples: int, classes: int) -> Iterator[slice]:
    """Yield slices of the samples, with as many logits each as should be processed at once."""
    step = max(1, _BLOCK // max(classes, 1))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


def _score(logits: np.ndarray, labels: np.ndarray) -> _Scores:
    parts = [_score_block(logits[rows], labels[rows]) for rows in blocks(*logits.shape)]
    return _Scores(*(np.concatenate(column) for column in zip(*parts)))


def _score_block(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows = np.arange(len(labels))
    predicted = logits.argmax(axis=1)
    logp = log_softmax(logits)
    own = logits[rows, labels][:, None]
    # A tie goes to the lower index, as in argmax, so rank 0 always agrees with "predicted".
    earlier = (logits == own) & (np.arange(logits.shape[1]) < labels[:, None])
    rank = (logits > own).sum(axis=1) + earlier.sum(axis=1)
    return predicted, -logp[rows, labels], np.exp(logp[rows, predicted]), rank


def _summary(scores: _Scores, labels: np.ndarray, n_classes: int, weights: np.ndarray | None) -> dict[str, Any]:
    w = np.ones(len(labels)) if weights is None else weights
    right = scores.predicted == labels
    _, recall, f1, support = _by_class(scores.predicted, labels, n_classes, w)
    # Samples of weight 0 do not bring a class into the means.
    labelled = support > 0
    seen = labelled | (np.bincount(scores.predicted, w, n_classes) > 0)
    loss = float(np.average(scores.loss, weights=w))
    interval = of_proportion(right.mean(), len(right)) if weights is None else of_weighted_proportion(right, w)
    return {
        "log_loss": loss,
        "loss": loss,
        "accuracy": float(np.average(right, weights=w)),
        "accuracy_ci95": interval,
        "top5_accuracy": float(np.average(scores.rank < 5, weights=w)) if n_classes > 5 else None,
        "ece": _ece(_calibration(scores, labels, w)),
        "macro_f1": float(f1[seen].mean()),
        "balanced_accuracy": float(recall[labelled].mean()),
    }


def _calibration(scores: _Scores, labels: np.ndarray, weights: np.ndarray) -> dict[str, list[float | None]]:
    """Return weight, mean confidence and accuracy of each bin (k/15, (k+1)/15] of confidence."""
    # The offset keeps a confidence at a bin's upper edge in that bin, in spite of rounding.
    bins = np.ceil(scores.confidence * CALIBRATION_BINS - 1e-9).astype(int) - 1
    bins = np.clip(bins, 0, CALIBRATION_BINS - 1)
    count = np.bincount(bins, weights, CALIBRATION_BINS)
    confidence = np.bincount(bins, weights * scores.confidence, CALIBRATION_BINS)
    right = np.bincount(bins, weights * (scores.predicted == labels), CALIBRATION_BINS)
    filled = count > 0
    return {
        "count": count.tolist(),
        "confidence": [float(v / c) if f else None for v, c, f in zip(confidence, count, filled)],
        "accuracy": [float(v / c) if f else None for v, c, f in zip(right, count, filled)],
    }


def _ece(bins: dict[str, list[float | None]]) -> float:
    gaps = [
        count * abs(accuracy - confidence)
        for count, confidence, accuracy in zip(bins["count"], bins["confidence"], bins["accuracy"])
        if count and confidence is not None and accuracy is not None
    ]
    return float(sum(gaps) / sum(c for c in bins["count"] if c))


def _by_class(
    predicted: np.ndarray, labels: np.ndarray, n_classes: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall, F1 and support of each class, (C,) each."""
    from sklearn.metrics import precision_recall_fscore_support  # takes a second to import

    columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(n_classes), sample_weight=weights, zero_division=0.0
    )
    return columns
