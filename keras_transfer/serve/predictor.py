"""Probabilities and Grad-CAM maps for single images, computed in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from keras_transfer.evaluation.evaluate import logits_of_batch
from keras_transfer.evaluation.metrics import require_finite
from keras_transfer.evaluation.novelty import apart
from keras_transfer.evaluation.tasks import is_multi, thresholds_of
from keras_transfer.evaluation.tasks import probabilities as shares_of
from keras_transfer.explain.grad_cam import GradCam
from keras_transfer.models.novelty import joined
from keras_transfer.serve.batcher import Batcher

SIZES = (1, 2, 4, 8, 16)
"""Batches have one of these sizes: what compiles for a size does so once for each. Few waiting images are divided, not padded."""


class Answer(NamedTuple):
    """The answer for an image.

    Attributes:
        probabilities: float64 (classes,); not numbers if the model's outputs are not finite.
        map: float32 (h, w), Grad-CAM of the most probable class, or None if not requested.
        novelty: above 0, the image is none of the classes; None if the model does not say.
    """

    probabilities: np.ndarray
    map: np.ndarray | None
    novelty: float | None = None


class Predictor:
    """Classify images from any thread, computing waiting ones as one batch.

    Args:
        model: a classifier from images to logits.
        metadata: of the model file (``classes``, ``image_size``, ``color``, ``resize``, ``backbone``).
        engine: what computes the probabilities instead of the model (:mod:`keras_transfer.engine.forward`); maps need its gradients.
    """

    def __init__(self, model: Any, metadata: Mapping[str, Any], engine: Any = None):
        self.model, self.metadata = model, metadata
        self.engine = joined(model, metadata) if engine is None else engine
        self.classes = [str(name) for name in metadata["classes"]]
        self._cam = GradCam(model)
        # As many batches at a time as the engine computes side by side; a framework uses all processors for one.
        self._batcher = Batcher(self._answer, SIZES, getattr(self.engine, "requests", 1))

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return is_multi(self.metadata)

    @property
    def thresholds(self) -> np.ndarray:
        """Of several labels: the probability from which an image has each, float64 (C,)."""
        return thresholds_of(self.metadata)

    def ask(self, image: np.ndarray, explain: bool = False) -> Future[Answer]:
        """Queue an image.

        Args:
            image: uint8 (h, w, c) in the model's size.
            explain: also compute the map.
        """
        return self._batcher.submit((image, explain))

    def labels_of(self, answer: Answer) -> list[str] | None:
        """Return the labels that an image has, the most probable first; None if the model gives one class to each image."""
        if not self.several:
            return None
        limits = self.thresholds
        order = np.argsort(-answer.probabilities, kind="stable").tolist()
        return [self.classes[k] for k in order if answer.probabilities[k] >= limits[k]]

    def warm_up(self) -> None:
        """Run a batch of each size, so that no request waits for compilation."""
        image = np.zeros(self.model.input_shape[1:], np.uint8)
        for size in SIZES:
            answers = self._answer([(image, True)] * size)
            require_finite(np.stack([answer.probabilities for answer in answers]))

    def close(self) -> None:
        """Answer waiting requests and stop."""
        self._batcher.close()

    def _answer(self, questions: Sequence[tuple[np.ndarray, bool]]) -> list[Answer]:
        images = np.stack([image for image, _ in questions])
        rows = logits_of_batch(self.engine, images, _size_for(len(images)))
        logits, novelty = apart(rows, len(self.classes))
        finite = np.isfinite(logits).all(axis=1)  # one image must not fail the others
        probabilities = np.full(logits.shape, np.nan)
        probabilities[finite] = shares_of(logits[finite], self.several)
        explained = [i for i, (_, explain) in enumerate(questions) if explain]
        maps = dict(zip(explained, self._maps(images[explained], probabilities[explained].argmax(axis=1))))
        known = [None] * len(images) if novelty is None else novelty.tolist()
        return [Answer(one, maps.get(i), known[i]) for i, one in enumerate(probabilities)]

    def _maps(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        if not len(images):
            return np.zeros((0,))
        # Pad the batch with copies of the first image.
        indices = np.arange(_size_for(len(images)))
        indices[len(images) :] = 0
        return self._cam(images[indices], classes[indices])[: len(images)]


def _size_for(count: int) -> int:
    return next(size for size in SIZES if size >= count)
