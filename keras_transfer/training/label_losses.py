"""Losses for several labels of an image, each predicted on its own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

ASYMMETRIC = "asymmetric"
"""Name of :class:`Asymmetric` as a loss."""


def label_loss(name: str | None, label_smoothing: float, class_weights: np.ndarray | None) -> keras.losses.Loss:
    """Return binary cross-entropy (name None) or the asymmetric loss.

    Args:
        name: None or :data:`ASYMMETRIC`.
        label_smoothing: 0 ≤ s < 1: labels become s/2 and 1 − s/2.
        class_weights: float (C,), the weight of each label where an image has it; None: 1.
    """
    weights = None if class_weights is None else np.asarray(class_weights, np.float32).tolist()
    return (Asymmetric if name == ASYMMETRIC else LabelCrossentropy)(label_smoothing, weights)


@keras.saving.register_keras_serializable("keras_transfer")
class LabelCrossentropy(keras.losses.Loss):
    """Binary cross-entropy on logits, the mean over the labels.

    Args:
        label_smoothing: see :func:`label_loss`.
        weights: of each label where an image has it, C numbers; None: 1.
    """

    def __init__(
        self, label_smoothing: float = 0.0, weights: list[float] | None = None, name: str = "label_crossentropy"
    ):
        super().__init__(name=name)
        self.label_smoothing, self.weights = label_smoothing, weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, float32 (b,), of labels from 0 to 1 and logits (b, C)."""
        ops = keras.ops
        y_true = ops.cast(y_true, y_pred.dtype)
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        has, lacks = y_true * ops.softplus(-y_pred), (1 - y_true) * ops.softplus(y_pred)
        has, lacks = self._focused(has, lacks, y_pred)
        if self.weights is not None:
            has = has * ops.convert_to_tensor(self.weights, y_pred.dtype)
        return ops.mean(has + lacks, axis=-1)

    def _focused(self, has: Any, lacks: Any, y_pred: Any) -> tuple[Any, Any]:
        """Return what labels that an image has, and those that it lacks, add to the loss, (b, C) each."""
        return has, lacks

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"label_smoothing": self.label_smoothing, "weights": self.weights, "name": self.name}


@keras.saving.register_keras_serializable("keras_transfer")
class Asymmetric(LabelCrossentropy):
    """The asymmetric loss: labels that an image lacks, which are most of them, count less the surer the model is of that.

    Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021, https://arxiv.org/abs/2009.14119, with their values: γ+ = 0,
    γ− = 4, and a margin of 0.05 by which probabilities of labels that are lacking are lowered. Its probabilities are not calibrated by
    themselves; the temperature and the thresholds take care of that.
    """

    GAMMA, MARGIN = 4.0, 0.05

    def _focused(self, has: Any, lacks: Any, y_pred: Any) -> tuple[Any, Any]:
        ops = keras.ops
        lowered = ops.maximum(ops.sigmoid(y_pred) - self.MARGIN, 0.0)
        share = lacks / ops.maximum(ops.softplus(y_pred), 1e-12)  # 1 where a label is lacking, 0 where not
        return has, -share * ops.power(lowered, self.GAMMA) * ops.log(ops.maximum(1 - lowered, 1e-8))
