"""Decisions by expected cost, and agreement of ordered classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_transfer.evaluation.metrics import log_softmax

__all__ = ["decision_metrics", "decisions", "expected_costs", "quadratic_kappa"]


def expected_costs(logits: np.ndarray, costs: Any) -> np.ndarray:
    """Return what each prediction would cost on average, float64 (n, C): probabilities times costs.

    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.

    Args:
        logits: float (n, C).
        costs: (C, C), rows true, columns predicted.
    """
    return np.asarray(np.exp(log_softmax(logits)) @ np.asarray(costs, np.float64))


def decisions(logits: np.ndarray, costs: Any) -> np.ndarray:
    """Return the class with the lowest expected cost for each row, int64 (n,); of equals, the more probable one."""
    expected = expected_costs(logits, costs)
    lowest = expected <= expected.min(axis=1, keepdims=True) + 1e-12
    return np.asarray(np.where(lowest, logits, -np.inf).argmax(axis=1))


def quadratic_kappa(labels: np.ndarray, predicted: np.ndarray, ranks: Sequence[int]) -> float:
    """Return Cohen's kappa with quadratic weights, −1 … 1 (Cohen, 1968): 0 is chance, and mistakes count by their squared distance.

    Args:
        labels: integers (n,).
        predicted: integers (n,).
        ranks: of each class in the order of the classes.
    """
    rank, count = np.asarray(ranks), len(ranks)
    true, guess = rank[labels], rank[predicted]
    observed = np.square(true - guess).mean()
    share_true, share_guess = (np.bincount(x, minlength=count) / len(x) for x in (true, guess))
    places = np.arange(count)
    chance = share_true @ np.square(places[:, None] - places) @ share_guess
    return 1.0 if chance == 0 else float(1 - observed / chance)


def decision_metrics(logits: np.ndarray, labels: np.ndarray, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that costs and an order of the classes add; nothing without either.

    Args:
        logits: float (n, C).
        labels: integers (n,).
        metadata: of the model: ``costs`` (C, C) and ``ranks`` (C,), if it has them.

    Returns:
        ``costs``: ``mean`` cost of a decision by expected cost, ``most_probable``, that of the most probable class, and the ``accuracy``
        of the decisions; ``quadratic_kappa`` of the decisions.
    """
    found: dict[str, Any] = {}
    made = logits.argmax(axis=1)
    if metadata.get("costs"):
        costs = np.asarray(metadata["costs"], np.float64)
        most_probable, made = made, decisions(logits, costs)
        found["costs"] = {
            "mean": float(costs[labels, made].mean()),
            "most_probable": float(costs[labels, most_probable].mean()),
            "accuracy": float((made == labels).mean()),
        }
    if metadata.get("ranks"):
        found["quadratic_kappa"] = quadratic_kappa(labels, made, metadata["ranks"])
    return found
