"""Assembling a batch: images in chunks for the threads, then labels, weights and mixing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from keras_transfer.data import rng
from keras_transfer.data.augment.transform import BatchTransform, Transform
from keras_transfer.data.dataset import Split
from keras_transfer.data.images.kept import KeptImages
from keras_transfer.data.images.protocols import ImageStore

Batch = tuple[np.ndarray, ...] | np.ndarray

_CHUNK = 8  # images per task: enough to hide the overhead of a task


class Job:
    """What the threads need. It has no reference to the loader, so an abandoned loader can be garbage-collected."""

    def __init__(
        self,
        split: Split,
        transform: Transform,
        seed: int,
        augment: bool,
        view: int,
        batch_transform: BatchTransform | None,
        weights: np.ndarray | None,
        with_labels: bool,
    ):
        self.images: ImageStore | KeptImages = split.samples.images
        self.split, self.transform, self.seed, self.view = split, transform, seed, view
        self.augment = augment and transform.random
        self.batch_transform, self.weights, self.with_labels = batch_transform, weights, with_labels
        self.busy = 0.0
        self.lock = threading.Lock()

    def start(self, pool: ThreadPoolExecutor | None, positions: np.ndarray, epoch: int, i: int) -> Future[Batch]:
        """Start a batch; without a pool it is finished on return."""
        height, width = self.transform.image_size
        images = np.empty((len(positions), height, width, self.transform.channels), np.uint8)
        future: Future[Batch] = Future()
        chunks = [slice(k, k + _CHUNK) for k in range(0, len(positions), _CHUNK)]
        left = [len(chunks)]

        def work(chunk: slice) -> None:
            began = time.thread_time()
            try:
                if not future.cancelled():
                    for k, position in enumerate(positions[chunk].tolist(), chunk.start):
                        self.image(position, epoch, images[k])
                with self.lock:
                    left[0] -= 1
                    last = left[0] == 0
                if last and future.set_running_or_notify_cancel():
                    future.set_result(self.finish(images, positions, epoch, i))
            except BaseException as error:
                _fail(future, error)
            finally:
                with self.lock:
                    self.busy += time.thread_time() - began

        for chunk in chunks:
            if pool is None:
                work(chunk)
            else:
                pool.submit(work, chunk)
        return future

    def image(self, position: int, epoch: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the model's input for one sample, in `out` if given."""
        index = int(self.split.indices[position])
        generator = rng.generator(self.seed, rng.PIXELS, epoch, index, self.view) if self.augment else None
        return self.transform(self.images.open(index), generator, out)

    def one_hot(self, positions: np.ndarray) -> np.ndarray:
        """Return the labels of these samples as 0 and 1, float32 (b, C)."""
        if self.split.is_multi:
            return np.asarray(self.split.labels[positions], np.float32)
        labels = np.zeros((len(positions), len(self.split.classes)), np.float32)
        labels[np.arange(len(positions)), self.split.labels[positions]] = 1.0
        return labels

    def finish(self, images: np.ndarray, positions: np.ndarray, epoch: int, i: int) -> Batch:
        """Add labels and weights, and mix."""
        if not self.with_labels:
            return images
        labels = self.one_hot(positions)
        weights = None if self.weights is None else self.weights[positions]
        if self.batch_transform is not None:
            generator = rng.generator(self.seed, rng.BATCH, epoch, i, self.view)
            mix = _mix_several if self.split.is_multi else _mix
            images, labels, weights = mix(self.batch_transform, images, labels, weights, generator)
        return (images, labels) if weights is None else (images, labels, weights)


def _mix(
    batch_transform: BatchTransform,
    images: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if weights is None:
        return (*batch_transform(images, labels, generator), None)
    # Cross-entropy is linear in the labels, so weights multiplied into the labels are mixed exactly:
    # s w_i CE(y_i) + (1 - s) w_j CE(y_j) = w CE(y) with w y = s w_i y_i + (1 - s) w_j y_j.
    images, carried = batch_transform(images, labels * weights[:, None], generator)
    total = carried.sum(axis=1)
    safe = np.where(total > 0, total, 1)[:, None]
    return images, np.where(total[:, None] > 0, carried / safe, labels).astype(np.float32), total.astype(np.float32)


def _mix_several(
    batch_transform: BatchTransform,
    images: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Mix as `_mix` does: the weights are a column of their own, because the labels of an image need not sum to 1."""
    if weights is None:
        return (*batch_transform(images, labels, generator), None)
    ones = np.ones((len(labels), 1), np.float32)
    images, carried = batch_transform(images, np.hstack([labels, ones]) * weights[:, None], generator)
    total = carried[:, -1:]
    mixed = np.where(total > 0, carried[:, :-1] / np.where(total > 0, total, 1), labels)
    return images, mixed.astype(np.float32), total[:, 0].astype(np.float32)


def _fail(future: Future[Any], error: BaseException) -> None:
    """Set an error on a batch, unless it has failed or been cancelled already."""
    if not future.done():
        try:
            future.set_exception(error)
        except Exception:  # two chunks failed at the same time
            return
