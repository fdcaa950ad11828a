"""Logits of a model on a split, and their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_transfer.console import progress
from keras_transfer.evaluation.decision import decision_metrics
from keras_transfer.evaluation.metrics import classification_metrics
from keras_transfer.evaluation.multilabel import multilabel_metrics
from keras_transfer.evaluation.novelty import apart, novelty_metrics, scored
from keras_transfer.keras_compat.locks import lock_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keras_transfer.data.augment import Transform
    from keras_transfer.data.dataset import Dataset, Split

__all__ = [
    "MAX_KEPT",
    "evaluate_split",
    "kept_splits",
    "logits_of_batch",
    "metrics_of",
    "metrics_of_outputs",
    "predict_logits",
    "predict_splits",
]


MAX_KEPT = 512 << 20
"""Bytes of logits that are kept for a report."""


def predict_logits(
    model: Any, split: Split, transform: Transform, batch_size: int = 32, workers: int | str = "auto"
) -> np.ndarray:
    """Compute the logits of every sample of `split`, in the order of the split.

    Args:
        model: a `keras.Model` from raw images (b, h, w, c) to logits (b, C), or another engine (:mod:`keras_transfer.engine.forward`).
        split: the samples.
        transform: the evaluation transform; it is called without a random generator.
        batch_size: images per forward pass.
        workers: number of reading threads, or `"auto"`.

    Returns:
        float32 (n, C), or of another width that the model's output has; (0, C) for an empty split.
    """
    from keras_transfer.data.loading.loader import Loader

    if len(split) == 0:
        return np.zeros((0, len(split.classes)), np.float32)
    # All batches get the same shape: jax and tensorflow would compile again for a shorter last one.
    size = min(batch_size, len(split))
    logits, done = np.empty((0, 0), np.float32), 0
    with (
        Loader(split, transform, batch_size, workers=workers, with_labels=False) as loader,
        progress(f"predicting {len(split)} {split.name} images", len(split)) as advance,
    ):
        batches = cast("Iterator[np.ndarray]", loader.epoch())
        parts = (
            model.predict_stream(batches)
            if hasattr(model, "predict_stream")
            else (logits_of_batch(model, images, size) for images in batches)
        )
        for part in parts:  # in place: of many classes, a second copy would matter
            if not done:
                logits = np.empty((len(split), part.shape[-1]), np.float32)
            logits[done : done + len(part)] = part
            done += len(part)
            advance(len(part))
    return logits


def predict_splits(
    model: Any, data: Dataset, transform: Transform, batch_size: int = 32, workers: int | str = "auto"
) -> dict[str, np.ndarray]:
    """The model's logits, float32 (n, C), on ``val`` and ``test``, as far as there are images; see :func:`predict_logits`.

    Where both together take more than `MAX_KEPT` bytes, only those that a report shows.
    """
    return {
        split.name: apart(predict_logits(model, split, transform, batch_size, workers), len(data.classes))[0]
        for split in kept_splits(data)
    }


def kept_splits(data: Dataset) -> list[Split]:
    """Return the splits whose logits are kept in memory: ``val`` and ``test``; of thousands of classes one of them."""
    splits = [split for split in (data.val, data.test) if len(split)]
    return splits if sum(map(len, splits)) * len(data.classes) * 4 <= MAX_KEPT else splits[-1:]


def evaluate_split(
    model: Any,
    split: Split,
    transform: Transform,
    batch_size: int = 32,
    workers: int | str = "auto",
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metrics of a model on `split`; see :func:`metrics_of`.

    With the metadata of a model, several labels are decided by its thresholds, and one class by its costs; of a model that rejects,
    ``novelty`` is added; see :func:`~keras_transfer.evaluation.novelty.novelty_metrics`.
    """
    known = metadata or {}
    return metrics_of_outputs(predict_logits(scored(model, known), split, transform, batch_size, workers), split, known)


def metrics_of_outputs(rows: np.ndarray, split: Split, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of what a model computed for a split; see :func:`evaluate_split`.

    Args:
        rows: float32 (n, C), or (n, C + 1) with the novelty, in the order of the split.
        split: the images.
        metadata: of the model.
    """
    logits, novelty = apart(rows, len(split.classes))
    found = metrics_of(logits, split, metadata.get("thresholds"))
    if not split.is_multi:
        found |= decision_metrics(logits, split.labels, metadata)
    return found if novelty is None else {**found, "novelty": novelty_metrics(novelty, metadata["novelty"]["rate"])}


def metrics_of(logits: np.ndarray, split: Split, thresholds: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the metrics of logits (n, C) on a split: `classification_metrics`, or `multilabel_metrics` where an image may have several.

    Args:
        logits: float (n, C), in the order of the split.
        split: the samples.
        thresholds: of several labels, from which probability on an image has each; None: 0.5.
    """
    if split.is_multi:
        limits = None if thresholds is None else np.asarray(thresholds, np.float64)
        return multilabel_metrics(logits, split.labels, split.classes, split.weights, limits)
    return classification_metrics(logits, split.labels, split.classes, split.weights)


def logits_of_batch(model: Any, images: np.ndarray, size: int | None = None) -> np.ndarray:
    """Run a forward pass in inference mode; of several threads with one model, one at a time.

    Args:
        model: a `keras.Model`.
        images: (b, h, w, c).
        size: pad the batch to this many images, with copies of the last one, whose logits are dropped.

    Returns:
        float32 (b, C).
    """
    if hasattr(model, "predict_stream"):  # an engine: needs neither padding nor a lock
        return np.asarray(model.predict_on_batch(images), np.float32)
    count = len(images)
    if size is not None and count < size:
        images = np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)])
    with lock_of(model):
        return np.asarray(model.predict_on_batch(images), np.float32)[:count]
