"""The images with the highest losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import predict_logits
from keras_transfer.evaluation.metrics import log_softmax

if TYPE_CHECKING:
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.dataset import Split


@dataclass(frozen=True)
class Loss:
    """An image and its prediction.

    Attributes:
        position: index of the image in its split.
        name: name of the image.
        loss: cross-entropy in nats.
        label: index of the true class.
        label_probability: probability of the true class.
        predicted: index of the predicted class.
        probability: probability of the predicted class.
    """

    position: int
    name: str
    loss: float
    label: int
    label_probability: float
    predicted: int
    probability: float


def top_losses(model: Any, split: Split, transform: Transform, count: int = 12, batch_size: int = 32) -> list[Loss]:
    """Return the ``count`` images of a split with the highest losses, highest first: errors and wrong labels.

    Args:
        model: a classifier from images to logits.
        split: labelled images.
        transform: the evaluation transform.
        count: number of images; at most the size of the split.
        batch_size: images per forward pass.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f"count: expected at least 1, got {count}")
    if split.is_multi:
        raise UserError("top-losses is for one label per image; for several, see the report, or explain --class LABEL")
    logs = log_softmax(predict_logits(model, split, transform, batch_size))
    labels = np.asarray(split.labels)
    losses = -logs[np.arange(len(labels)), labels]
    found = []
    for i in np.argsort(-losses, kind="stable")[:count]:
        best = int(logs[i].argmax())
        given, highest = float(np.exp(-losses[i])), float(np.exp(logs[i, best]))
        found.append(Loss(int(i), split.image_name(int(i)), float(losses[i]), int(labels[i]), given, best, highest))
    return found
