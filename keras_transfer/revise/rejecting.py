"""Revised models reject what is none of their classes, as those that they come from."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transfer.config.open_data import evaluation_transform
from keras_transfer.data.dataset import Split
from keras_transfer.evaluation.evaluate import predict_logits
from keras_transfer.evaluation.novelty import apart, novelty_metrics
from keras_transfer.models.novelty import NOVELTY, joined
from keras_transfer.revise.network import Network
from keras_transfer.training.rejection import calibrate


def rejecting(
    network: Network, model: keras.Model, out_of_fold: np.ndarray | None, metrics: dict[str, Any]
) -> dict[str, Any]:
    """Give a revised model its threshold for none of its classes, and add to its metrics how many pictures it rejects.

    Args:
        network: of the run.
        model: with its new last layer; its graph gets the layers that compute novelty.
        out_of_fold: logits of the training pictures by heads made without them, or None.
        metrics: of ``val`` and ``test``; changed.

    Returns:
        Metadata of the model file; nothing, where the run does not reject.

    Raises:
        UserError: too few pictures for the rate.
    """
    rate, settings = network.config.reject_rate, network.config.data
    if rate is None:
        return {}

    def rows(part: keras.Model, split: Split) -> np.ndarray:
        return predict_logits(part, split, evaluation_transform(settings), settings.micro_batch_size, settings.workers)

    def compute(part: keras.Model, split: Split) -> np.ndarray:
        if part is not model and not network.config.model.taps:  # the pooled features are what the last layer reads
            return network.features(split)
        return rows(part, split)

    found = {NOVELTY: calibrate(model, network.data, rate, compute, out_of_fold, [])}
    both = joined(model, {**found, "classes": network.data.classes})
    for split in (network.data.val, network.data.test):
        if len(split):
            novelty = apart(rows(both, split), len(split.classes))[1]
            assert novelty is not None
            metrics[split.name][NOVELTY] = novelty_metrics(novelty, rate)
    return found
