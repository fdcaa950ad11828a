"""Metrics where an image may have several labels, and the thresholds that decide about them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.evaluation.intervals import of_proportion, of_weighted_proportion
from keras_transfer.evaluation.metrics import require_finite
from keras_transfer.evaluation.tasks import DEFAULT_THRESHOLD, probabilities

__all__ = ["best_thresholds", "multilabel_metrics"]

_FEWEST = 5  # images with a label, and without it, from which a threshold of its own is worth more than the usual one
_CURVES, _POINTS = 200, 60  # labels whose curves are kept, and points of each


def best_thresholds(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the probability from which an image has a label, float64 (C,): for each label, where F1 is highest.

    Between two neighbouring predictions, the threshold is in the middle of them. Labels that fewer than 5 images have, or lack, keep 0.5:
    the best of few is chance.

    Args:
        logits: float (n, C), of images that the model was not made from.
        labels: 0 or 1, (n, C).
        weights: float (n,), of the samples; None: all the same.
    """
    values = probabilities(logits, True)
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    found = np.full(labels.shape[1], DEFAULT_THRESHOLD)
    for k in range(labels.shape[1]):
        positives = int(labels[:, k].sum())
        if min(positives, len(labels) - positives) >= _FEWEST:
            found[k] = _best_threshold(values[:, k], labels[:, k], shares)
    return found


def _best_threshold(values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(-values, kind="stable")
    values, own = values[order], (labels * weights)[order]
    right, taken = np.cumsum(own), np.cumsum(weights[order])
    f1 = 2 * right / np.maximum(taken + own.sum(), 1e-12)
    last = np.append(values[1:] < values[:-1], True)  # of equal predictions, all are taken or none
    best = int(np.where(last, f1, -1).argmax())
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


def multilabel_metrics(  # most of it documentation
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    weights: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Compute metrics of logits and labels.

    Args:
        logits: float (n, C), finite.
        labels: 0 or 1, (n, C).
        classes: names of the labels.
        weights: float (n,), sample weights >= 0 with a positive sum, or None.
        thresholds: float (C,), the probability from which an image has a label; None: 0.5.

    Returns:
        A JSON-serializable dictionary:
            task: "multi"; n: number of samples.
            log_loss: binary cross-entropy in nats, mean over samples and labels; `loss` is the same.
            accuracy, accuracy_ci95: share of the samples whose labels are all right, and Wilson's interval.
            label_accuracy: share of right decisions about a label.
            mean_average_precision: mean over the labels that occur, of the average precision.
            micro_f1: F1 of all decisions; macro_f1: mean over the labels that occur or are predicted.
            per_class: {name: {"average_precision", "precision", "recall", "f1", "support", "predicted", "threshold"}}; a ratio with
                denominator 0 is 0, and the average precision of a label that does not occur is None.
            curves: {name: {"recall", "precision"}}, the precision-recall curves of at most 200 labels.
            weighted: only with `weights`: the first figures with sample weights.

    Raises:
        UserError: no samples, invalid weights, or logits that are not finite.
        ValueError: shapes that do not match.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.shape != labels.shape or logits.shape[1:] != (len(classes),):
        raise ValueError(f"expected logits and labels (n, {len(classes)}), got {logits.shape} and {labels.shape}")
    if not len(labels):
        raise UserError("there are no samples to evaluate: expected a split with at least one")
    require_finite(logits)
    limits = np.full(len(classes), DEFAULT_THRESHOLD) if thresholds is None else np.asarray(thresholds, np.float64)
    predicted = probabilities(logits, True) >= limits
    truth = labels.astype(bool)
    result: dict[str, Any] = {"task": "multi", "n": len(labels), **_summary(logits, truth, predicted, None)}
    precision = average_precisions(logits, truth)
    columns = zip(map(str, classes), precision, *_ratios(truth, predicted, np.ones(len(truth))), limits)
    result["per_class"] = {
        name: {
            "average_precision": None if np.isnan(ap) else float(ap),
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "support": int(support),
            "predicted": int(taken),
            "threshold": float(limit),
        }
        for name, ap, p, r, f, support, taken, limit in columns
    }
    result["curves"] = _curves(logits, truth, classes) if len(classes) <= _CURVES else {}
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise UserError("sample weights must be finite and >= 0, and not all 0")
        result["weighted"] = _summary(logits, truth, predicted, weights)
    return result


def average_precisions(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the average precision of each label, float64 (C,); NaN for labels that do not occur."""
    from sklearn.metrics import average_precision_score

    found = np.full(truth.shape[1], np.nan)
    for k in np.flatnonzero(truth.any(axis=0) if weights is None else (truth * weights[:, None]).any(axis=0)):
        found[k] = average_precision_score(truth[:, k], logits[:, k], sample_weight=weights)
    return found


def _summary(
    logits: np.ndarray, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None
) -> dict[str, Any]:
    shares = np.ones(len(truth)) if weights is None else weights
    right = predicted == truth
    exact = right.all(axis=1)
    losses = np.logaddexp(0, np.where(truth, -1.0, 1.0) * logits.astype(np.float64)).mean(axis=1)
    loss = float(np.average(losses, weights=shares))
    _, _, f1, support, taken = _ratios(truth, predicted, shares)
    both, seen = float(((truth & predicted) * shares[:, None]).sum()), (support > 0) | (taken > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no label occurs
        average = float(np.nanmean(average_precisions(logits, truth, weights)))
    return {
        "log_loss": loss,
        "loss": loss,
        "accuracy": float(np.average(exact, weights=shares)),
        "accuracy_ci95": of_proportion(exact.mean(), len(exact))
        if weights is None
        else of_weighted_proportion(exact, weights),
        "label_accuracy": float(np.average(right.mean(axis=1), weights=shares)),
        "mean_average_precision": None if np.isnan(average) else average,
        "micro_f1": 2 * both / max(float(support.sum() + taken.sum()), 1e-12),
        "macro_f1": float(f1[seen].mean()) if seen.any() else 0.0,
    }


def _ratios(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return precision, recall, F1, support and the number predicted of each label, (C,) each."""
    both = weights @ (truth & predicted)
    support, taken = weights @ truth, weights @ predicted
    ratio = [np.divide(a, b, out=np.zeros_like(both), where=b > 0) for a, b in ((both, taken), (both, support), (2 * both, taken + support))]  # fmt: skip
    return *ratio, support, taken


def _curves(logits: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Return the precision-recall curve of each label that occurs, thinned to a few points."""
    from sklearn.metrics import precision_recall_curve

    found = {}
    for k in np.flatnonzero(truth.any(axis=0)).tolist():
        precision, recall, _ = precision_recall_curve(truth[:, k], logits[:, k])
        kept = np.unique(np.linspace(0, len(recall) - 1, min(_POINTS, len(recall))).round().astype(np.int64))
        found[str(classes[k])] = {
            "recall": recall[kept].round(4).tolist(),
            "precision": precision[kept].round(4).tolist(),
        }
    return found
