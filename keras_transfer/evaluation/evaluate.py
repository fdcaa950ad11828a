"""A model on a split: logits, then metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.evaluation.metrics import classification_metrics

if TYPE_CHECKING:
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.dataset import Dataset, Split

__all__ = ["evaluate_split", "logits_of_batch", "predict_logits", "predict_splits"]


def predict_logits(
    model: Any, split: Split, transform: Transform, batch_size: int = 32, workers: int | str = "auto"
) -> np.ndarray:
    """The model's logits for every sample of `split`, in the order of the split.

    Args:
        model: a `keras.Model` that takes raw images (b, h, w, c) and gives logits (b, C).
        split: what to read.
        transform: the evaluation transform; it is called without a random generator, so it must not need one.
        batch_size: images a forward pass.
        workers: reading threads, or `"auto"`.

    Returns:
        float32 (n, C); (0, C) for an empty split.
    """
    from keras_transfer.data.loading.loader import Loader

    if len(split) == 0:
        return np.zeros((0, len(split.classes)), np.float32)
    loader = Loader(
        split, transform, batch_size, shuffle=False, seed=0, workers=workers, with_labels=False, drop_last=False
    )
    try:
        # Every batch has the same shape: a shorter last one would be compiled anew on jax and tensorflow.
        size = min(batch_size, len(split))
        return np.concatenate([logits_of_batch(model, _images(loader.batch(0, i)), size) for i in range(len(loader))])
    finally:
        loader.close()


def predict_splits(
    model: Any, data: Dataset, transform: Transform, batch_size: int = 32, workers: int | str = "auto"
) -> dict[str, np.ndarray]:
    """The model's logits, float32 (n, C), on ``val`` and ``test``, as far as there are images; see :func:`predict_logits`."""
    return {
        split.name: predict_logits(model, split, transform, batch_size, workers)
        for split in (data.val, data.test)
        if len(split)
    }


def evaluate_split(
    model: Any,
    split: Split,
    transform: Transform,
    batch_size: int = 32,
    workers: int | str = "auto",
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`classification_metrics` of the model on `split`; see there for what comes back and what is raised."""
    logits = predict_logits(model, split, transform, batch_size, workers)
    return classification_metrics(logits, split.labels, split.classes, split.weights, bootstrap, seed)


def logits_of_batch(model: Any, images: np.ndarray, size: int | None = None) -> np.ndarray:
    """One forward pass in inference mode.

    Args:
        model: a `keras.Model`.
        images: (b, h, w, c).
        size: fill the batch up to this many images (with copies of the last one) and drop their logits again.

    Returns:
        float32 (b, C).
    """
    count = len(images)
    if size is not None and count < size:
        images = np.concatenate([images, np.repeat(images[-1:], size - count, axis=0)])
    return np.asarray(model.predict_on_batch(images), np.float32)[:count]


def _images(batch: Any) -> np.ndarray:
    return batch[0] if isinstance(batch, tuple) else batch
