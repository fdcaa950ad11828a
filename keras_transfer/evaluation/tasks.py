"""One label for an image, or several: what a model's outputs mean, and what it decides.

The metadata of a model for several labels have ``task: multi`` and ``thresholds``, a probability for each label from which an image has
it. Models for one label, softmax over the classes, have neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_transfer.evaluation.metrics import log_softmax, require_finite

__all__ = ["DEFAULT_THRESHOLD", "MULTI", "is_multi", "probabilities", "thresholds_of"]

MULTI = "multi"
DEFAULT_THRESHOLD = 0.5


def is_multi(metadata: Mapping[str, Any]) -> bool:
    """Return whether a model of these metadata gives an image several labels, or none."""
    return metadata.get("task") == MULTI


def thresholds_of(metadata: Mapping[str, Any]) -> np.ndarray:
    """Return the probability from which an image has a label, float64 (C,)."""
    given = metadata.get("thresholds")
    return np.full(len(metadata["classes"]), DEFAULT_THRESHOLD) if given is None else np.asarray(given, np.float64)


def probabilities(logits: np.ndarray, several: bool) -> np.ndarray:
    """Return probabilities, float64 (…, C): of each class, which sum to 1, or of each of several labels on its own.

    Raises:
        NotFinite: infinite logits, or some that are not numbers.
    """
    if not several:
        return np.asarray(np.exp(log_softmax(logits)))
    from scipy.special import expit

    logits = np.asarray(logits, np.float64)
    require_finite(logits)
    return np.asarray(expit(logits))
