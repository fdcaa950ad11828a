"""Predictions for samples that the predicting model was not made from: validation, test, or training samples out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.evaluation.metrics import blocks, log_softmax
from keras_transfer.evaluation.tasks import probabilities

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Dataset, Split

__all__ = ["OUT_OF_FOLD", "Judged", "judged", "judged_split"]

OUT_OF_FOLD = "out_of_fold"
"""The name of predictions for the training samples, each by a model made from the other folds (cross-validation)."""


@dataclass(frozen=True)
class Judged:
    """A split and what was predicted for it.

    Attributes:
        name: ``"val"``, ``"test"`` or `OUT_OF_FOLD`, whose split is that of the training samples.
        split: the samples.
        logits: float (n, C), in the order of the split.

    Raises:
        ValueError: the shape of the logits is another one.
    """

    name: str
    split: Split
    logits: np.ndarray

    def __post_init__(self) -> None:
        expected = len(self.split), len(self.split.classes)
        if self.logits.shape != expected:
            raise ValueError(f"{self.name}: expected logits {expected}, got {self.logits.shape}")

    def probabilities(self, rows: np.ndarray | int | slice) -> np.ndarray:
        """Return the probabilities of some samples, float64 (…, C): those of all would take twice the memory of the logits."""
        return probabilities(self.logits[rows], self.split.is_multi)

    @cached_property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each sample in nats, float64 (n,); of several labels, the mean of their binary ones."""
        if self.split.is_multi:
            signs = np.where(self.split.labels > 0, np.float32(-1), np.float32(1))
            return np.asarray(np.logaddexp(0, signs * self.logits).mean(axis=1), np.float64)
        found = np.empty(len(self.split))
        for rows in blocks(*self.logits.shape):
            logs = log_softmax(self.logits[rows])
            found[rows] = -logs[np.arange(len(logs)), self.split.labels[rows]]
        return found


def judged_split(data: Dataset, name: str) -> tuple[str, Split]:
    """Return name and samples of predictions called `name`.

    In data without validation samples, ``"val"`` stands for `OUT_OF_FOLD`, as it does in ``metrics.json``.

    Args:
        data: the data set.
        name: ``"val"``, ``"test"`` or `OUT_OF_FOLD`.
    """
    if name == OUT_OF_FOLD or (name == "val" and not len(data.val)):
        return OUT_OF_FOLD, data.train
    splits = {"val": data.val, "test": data.test}
    return name, splits[name]


def judged(data: Dataset, logits: Mapping[str, np.ndarray]) -> dict[str, Judged]:
    """Return predictions with their samples, by name; see :func:`judged_split`.

    Args:
        data: the data set.
        logits: name → float (n, C).

    Raises:
        ValueError: logits that do not fit their samples.
    """
    found = [Judged(*judged_split(data, name), values) for name, values in logits.items()]
    return {one.name: one for one in found}
