"""Batches of uint8 images, prefetched by threads (OpenCV releases the GIL).

The content of a batch depends on seed, epoch and the rows of its samples, never on the number of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from keras_transfer.data.augment.transform import BatchTransform, Transform
from keras_transfer.data.checks.verify import resolve_workers
from keras_transfer.data.dataset import Split
from keras_transfer.data.images.kept import KeptImages
from keras_transfer.data.loading.blocks import BlocksAhead
from keras_transfer.data.loading.job import Batch, Job
from keras_transfer.distribute.shard import WHOLE
from keras_transfer.errors import UserError


class Loader:
    """Serve a split as batches, in any order, fastest in sequence.

    Args:
        split: the samples.
        transform: turns images into arrays.
        batch_size: images per batch; the last batch may be smaller.
        shuffle: draw a new order each epoch, and augment the images.
        seed: seed of order, augmentation and mixing.
        workers: number of threads, or "auto"; 0 works in the caller's thread.
        batch_transform: mixes the images of each batch.
        class_weights: float32 (C,), multiplied with the sample weights.
        with_labels: False gives batches of images only.
        augment: whether to augment; None: like `shuffle`.

    With threads of its own, the first batch disables OpenCV's for the whole process: both together are slower.

    Attributes:
        shard: what of every batch is loaded, where several processes share the batches; numbers and positions are those of whole batches.
        prefetch: number of batches to prepare ahead.
        waited: seconds that callers waited for batches.
        busy: seconds of work, summed over the threads.
    """

    prefetch = 4

    def __init__(
        self,
        split: Split,
        transform: Transform,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int | str = "auto",
        batch_transform: BatchTransform | None = None,
        class_weights: np.ndarray | None = None,
        with_labels: bool = True,
        augment: bool | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, received {batch_size}")
        self.split, self.batch_size, self.shuffle, self.seed = split, int(batch_size), shuffle, int(seed)
        augment, weights = shuffle if augment is None else augment, _weights(split, class_weights)
        self._job = Job(split, transform, self.seed, augment, 0, batch_transform, weights, with_labels)
        self._workers, self.shard = resolve_workers(workers), WHOLE
        self._ahead = BlocksAhead(split)
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[tuple[int, int], Future[Batch]] = {}
        self._order: tuple[int, np.ndarray] | None = None
        self._served = np.arange(len(split))
        self._lock = threading.RLock()
        self._closed = False
        self.waited = 0.0

    def __len__(self) -> int:
        return -(-len(self._served) // self.batch_size)

    @property
    def weighted(self) -> bool:
        """Whether batches contain weights."""
        return self._job.weights is not None and self._job.with_labels

    @property
    def mean_weight(self) -> float:
        """Mean sample weight, 1 without weights: the factor by which weights scale the loss of an untrained model."""
        return float(self._job.weights.mean()) if self._job.weights is not None else 1.0

    @property
    def busy(self) -> float:
        """Seconds of work, summed over the threads."""
        return self._job.busy

    def order(self, epoch: int) -> np.ndarray:
        """Return the positions in the split in the order of an epoch, int64 (n,); those served, see :meth:`only`."""
        with self._lock:
            if not self.shuffle:
                epoch = 0
            if self._order is None or self._order[0] != epoch:
                served = self._served
                if self.shuffle:
                    served = served[self._ahead.shuffled(served, self.seed, epoch)]
                self._order = epoch, served
            return self._order[1]

    def batch(self, epoch: int, i: int) -> Batch:
        """Return batch i of an epoch.

        Returns:
            (x, y, w), or (x, y) if there are neither sample nor class weights, or x alone without labels: x uint8
            (b, h, w, c), y float32 one-hot (b, C), w float32 (b,). With a shard, only its rows.

        Raises:
            IndexError: there is no such batch.
            BadImage: an image can no longer be read.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"batch {i} of {len(self)}")
        began = time.perf_counter()
        with self._lock:
            if self._closed:
                raise UserError("the loader is closed")
            self._ahead.at(self.order, epoch, i * self.batch_size, self.shuffle)
            future = self._request(epoch, i)
            self._look_ahead(epoch, i)
        try:
            batch = future.result()
            if self.mixes and not self.shard.is_whole:  # partners may be anywhere in the batch
                rows = self.shard.rows(len(self.positions(epoch, i)))
                return tuple(part[rows] for part in batch) if isinstance(batch, tuple) else batch[rows]
            return batch
        finally:
            self.waited += time.perf_counter() - began

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in order; iteration may stop at any time."""
        for i in range(len(self)):
            yield self.batch(epoch, i)

    def positions(self, epoch: int, i: int) -> np.ndarray:
        """Return the positions in the split of the samples of batch i, int64 (b,)."""
        return self.order(epoch)[i * self.batch_size : (i + 1) * self.batch_size]

    def share(self, epoch: int, i: int) -> np.ndarray:
        """Return the positions of the samples of batch i that are in the shard, int64 (m,)."""
        return self.shard.of(self.positions(epoch, i))

    def targets(self, positions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return labels, and weights if there are any, as in an unmixed batch of these samples."""
        labels = self._job.one_hot(positions)
        return (labels,) if self._job.weights is None else (labels, self._job.weights[positions])

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of the samples of the split in the loss, float32 (n,), or None."""
        return self._job.weights

    @property
    def augments(self) -> bool:
        """Whether the input for a sample changes from epoch to epoch."""
        return self._job.augment or self._job.batch_transform is not None

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self._job.batch_transform is not None

    @property
    def transform(self) -> Transform:
        """The transform from images to arrays."""
        return self._job.transform

    def keep(self, limit: int) -> None:
        """Keep decoded images in memory for the next epoch, up to this many bytes; loaders that are made of this one use them too."""
        self._job.images = KeptImages(self.split.samples.images, limit)

    def in_order(self, batch_size: int | None = None, view: int | None = None) -> Loader:
        """Return a loader of the same images, in the order of the split and without labels.

        Args:
            batch_size: images per batch; None: the same.
            view: number of the augmented view, each of which is augmented differently; None: not augmented.
        """
        copy = Loader(self.split, self.transform, batch_size or self.batch_size, seed=self.seed,
                      workers=self._workers, with_labels=False, augment=view is not None)  # fmt: skip
        copy._job.view = view or 0
        if view is not None:
            copy._job.images = self._job.images
        return copy

    def plain(self) -> Loader:
        """Return a loader of the same batches, without augmentation and mixing."""
        copy = Loader(self.split, self.transform, self.batch_size, shuffle=self.shuffle, seed=self.seed,
                      workers=self._workers, augment=False)  # fmt: skip
        copy._job.weights, copy.shard = self._job.weights, self.shard
        return copy

    def at_size(self, image_size: tuple[int, int]) -> Loader:
        """Return a loader of the same batches with images of another size (height, width)."""
        job, old = self._job, self.transform
        transform = Transform(image_size, old.ops, old.resize, old.color)
        copy = Loader(self.split, transform, self.batch_size, shuffle=self.shuffle, seed=self.seed, workers=self._workers,
                      batch_transform=job.batch_transform, with_labels=job.with_labels, augment=job.augment)  # fmt: skip
        copy._job.view, copy._job.weights, copy._served, copy.shard = job.view, job.weights, self._served, self.shard
        copy._job.images = job.images
        return copy

    def only(self, positions: np.ndarray) -> Loader:
        """Return a loader of some of the images; batches are numbered anew, positions remain those in the split.

        Args:
            positions: in the split, int64 (m,).
        """
        job = self._job
        copy = Loader(self.split, self.transform, self.batch_size, shuffle=self.shuffle, seed=self.seed, workers=self._workers,
                      batch_transform=job.batch_transform, with_labels=job.with_labels, augment=job.augment)  # fmt: skip
        copy._job.view, copy._job.weights, copy._job.images, copy.shard = job.view, job.weights, job.images, self.shard
        copy._served = np.sort(np.asarray(positions, np.int64))
        return copy

    def whole(self) -> Loader:
        """Return a loader of the same batches, not only of a shard of them."""
        copy = self.only(self._served)
        copy.shard = WHOLE
        return copy

    def reset(self) -> None:
        """Reset `waited` and `busy` to zero."""
        self.waited = 0.0
        self._job.busy = 0.0

    def close(self) -> None:
        """Stop the threads and drop batches in preparation."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            self._pending.clear()
            self._ahead.close()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, epoch: int, i: int) -> Future[Batch]:
        return self._pending.pop((epoch, i), None) or self._submit(epoch, i)

    def _submit(self, epoch: int, i: int) -> Future[Batch]:
        if self._workers and self._pool is None:
            cv2.setNumThreads(1)
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="kt-loader")
        positions = self.positions(epoch, i) if self.mixes else self.share(epoch, i)
        return self._job.start(self._pool, positions, epoch, i)

    def _look_ahead(self, epoch: int, i: int) -> None:
        """Prefetch the next batches, also of the next epoch if shuffled, and cancel those no longer needed."""
        if not self._workers:
            return
        wanted = [(epoch, k) for k in range(i + 1, min(i + 1 + self.prefetch, len(self)))]
        if self.shuffle:
            wanted += [(epoch + 1, k) for k in range(min(self.prefetch - len(wanted), len(self)))]
        for key in [key for key in self._pending if key not in wanted]:
            self._pending.pop(key).cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._submit(*key)


def _weights(split: Split, class_weights: np.ndarray | None) -> np.ndarray | None:
    if class_weights is None:
        return split.weights
    by_class = np.asarray(class_weights, np.float32)
    if by_class.shape != (len(split.classes),):
        raise UserError(f"class_weights must have a number for each of the {len(split.classes)} classes")
    if not (np.isfinite(by_class) & (by_class >= 0)).all():
        raise UserError(f"class_weights must be finite and at least 0, received {by_class.tolist()}")
    weights: np.ndarray = by_class[split.labels]
    return weights if split.weights is None else weights * split.weights
