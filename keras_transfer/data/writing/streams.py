"""Write a stream of images as shards: data that can only be read once from front to end, and need not fit into memory or on a disk."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from keras_transfer.data.checks.verify import resolve_workers
from keras_transfer.data.images.store import BadImage
from keras_transfer.data.objects.gathering import samples_in
from keras_transfer.data.objects.pixels import Pixels, host_array, is_tensor
from keras_transfer.data.sharded.places import Place
from keras_transfer.data.writing.shards import ShardWriter, Written, record_of
from keras_transfer.data.writing.tar import Record
from keras_transfer.errors import UserError, nearest

MIXED = 10_000
MIXED_BYTES = 256 << 20
"""Images, and bytes of them, that are held to be written in another order."""


class Stream(Protocol):
    """What :func:`write_stream` needs to know of a split; see :class:`~keras_transfer.data.objects.streams.Streamed`."""

    @property
    def elements(self) -> Iterable[Any]:
        """Samples or batches of them: (image, label[, weight])."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names, where the data have them."""


class _Read:
    """What is known of the images read so far; takes the place of a table of samples."""

    is_multi = False
    groups = None

    def __init__(self, source: str, classes: tuple[str, ...]):
        self.source, self.classes = source, classes
        self.labels: Any = []
        self.split: Any = []
        self.weights: Any = []
        self.images = self
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        """Return the name of an image."""
        return self._names[row]

    def add(self, split: str, label: int, weight: Any) -> str:
        """Note an image and return its name."""
        self.labels.append(label)
        self.split.append(split)
        self.weights.append(1.0 if weight is None else float(host_array(weight)))
        self._names.append(f"{split + '/' if split else ''}{len(self._names):09d}")
        return self._names[-1]

    def close(self) -> None:
        """Make arrays of what was read."""
        self.labels, self.split = np.array(self.labels, np.int64), np.array(self.split, object)
        weights = np.array(self.weights, np.float32)
        self.weights = weights if (weights != 1).any() else None


def write_stream(
    parts: Mapping[str, Stream],
    output: str,
    classes: tuple[str, ...] | None = None,
    *,
    source: str = "stream",
    size: int = 256 * 10**6,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
    workers: int | str = "auto",
) -> Written:
    """Write streams as shards with an index, as :func:`~keras_transfer.data.writing.shards.write_shards` does for data that can be looked up.

    Every image is read and decoded once. As a shard should be a fair sample, images are written in an order that the seed mixes: 10,000 (or
    256 MiB) of them are held, and each that is read takes the place of one of those. Data that are sorted by class need a better mixing,
    before. A killed writing cannot be continued.

    Args:
        parts: split → stream; the split is "train", "val", "test", or "" where the data are not divided.
        output: a folder, or an address that fsspec can write to.
        classes: class names in label order; None: those of the streams.
        source: title of the data, for errors.
        size: bytes of a shard, at most, unless one image takes more.
        seed: of the order.
        on_bad_image: "error" ends at the first unreadable image; "skip" leaves them out.
        workers: threads that decode.

    Raises:
        UserError: class names that are not known, labels that are none of them, unreadable images, an output that holds something else.
    """
    names = classes or next((part.classes for part in parts.values() if part.classes), None)
    if not names:
        raise UserError(f"{source}: labels of a stream are known one by one: name the classes with classes=[…]")
    read = _Read(source, tuple(names))
    writer = _StreamWriter(read, output, size, on_bad_image)
    for split, part in parts.items():
        samples = samples_in(part.elements)
        with ThreadPoolExecutor(max(resolve_workers(workers), 1), thread_name_prefix="kt-stream") as pool:
            own = part.classes or read.classes
            writer.write_all(split, _mixed(_records(samples, split, read, own, pool), seed))
    read.close()
    return writer.finished(seed)


class _StreamWriter(ShardWriter):
    """Writes the shards of streams."""

    def __init__(self, read: _Read, output: str, size: int, on_bad_image: str):
        table: Any = read
        super().__init__(table, Place(output), output, f"stream {uuid.uuid4().hex}", size, on_bad_image)

    def write_all(self, split: str, records: Iterator[Record | BadImage]) -> None:
        """Write the shards of one split."""
        waiting: deque[Record | BadImage] = deque()
        number = 0
        while record := self.following(records, waiting):
            waiting.appendleft(record)
            self.write_shard(split, number, records, waiting, lambda _: None)
            if self.bad and not self.skips:
                name, reason = self.bad[0]
                raise UserError(
                    f"{name}: {reason} (--on-bad-image skip, or on_bad_image='skip', leaves such images out)"
                )
            number += 1


def _records(
    samples: Iterator[tuple[Any, Any, Any]], split: str, read: _Read, own: Sequence[str], pool: ThreadPoolExecutor
) -> Iterator[Record | BadImage]:
    """Decode images in threads, a few ahead, in the order of the stream."""
    pixels, ahead = Pixels(), deque[Future[Record | BadImage]]()
    for image, label, weight in samples:
        row = len(read)
        name = read.add(split, _class_of(label, own, read.classes, f"{read.source}: image {row}"), weight)
        if is_tensor(image):  # what its numbers mean is learned in order
            image = pixels.array(image, name)
        ahead.append(pool.submit(record_of, row, name, partial(pixels.open, image, name)))
        if len(ahead) > 32:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _class_of(label: Any, own: Sequence[str], classes: Sequence[str], where: str) -> int:
    """Return the class number of a label: a name, a number, or a row with one 1."""
    if label is None:
        raise UserError(f"{where} has no label")
    if is_tensor(label):
        array = host_array(label)
        label = array.item() if array.size == 1 else int(array.argmax()) if _one_hot(array) else array
    if isinstance(label, (int, float)) and not isinstance(label, bool) and label == int(label):
        if not 0 <= label < len(own):
            raise UserError(f"{where}: expected a label from 0 to {len(own) - 1}, received {label}")
        label = own[int(label)]
    if not isinstance(label, str):
        raise UserError(
            f"{where}: expected the name or the number of one class, received {type(label).__name__} {str(label)[:40]}"
        )
    if label not in classes:
        raise UserError(f"{where}: the label {label!r} is none of the classes{nearest(label, classes)}")
    return list(classes).index(label)


def _one_hot(array: np.ndarray) -> bool:
    return array.ndim == 1 and set(np.unique(array).tolist()) == {0, 1} and array.sum() == 1


def _mixed(records: Iterator[Record | BadImage], seed: int) -> Iterator[Record | BadImage]:
    """Yield records in another order, holding some."""
    generator = np.random.default_rng(seed)
    held: list[Record | BadImage] = []
    size = 0
    for record in records:
        if isinstance(record, BadImage):
            yield record
            continue
        held.append(record)
        size += len(record.data)
        while len(held) > MIXED or (size > MIXED_BYTES and len(held) > 1):
            place = int(generator.integers(len(held)))
            held[place], held[-1] = held[-1], held[place]
            out = held.pop()
            size -= len(out.data) if isinstance(out, Record) else 0
            yield out
    yield from (held[k] for k in generator.permutation(len(held)).tolist())
