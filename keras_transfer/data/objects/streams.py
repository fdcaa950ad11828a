"""Data sets that can only be read from front to end, not held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_transfer.data.objects.hugging_face import columns_of
from keras_transfer.data.objects.pixels import is_of
from keras_transfer.errors import UserError


@dataclass(frozen=True)
class Streamed:
    """A stream.

    Attributes:
        elements: samples or batches of them: (image, label[, weight]).
        classes: class names, where the data have them.
    """

    elements: Iterable[Any]
    classes: tuple[str, ...] | None = None


def as_stream(data: Any) -> Streamed | None:
    """Return a stream, or None for data whose items can be looked up."""
    if is_of(data, "datasets.IterableDataset"):
        data, image, label, classes = columns_of(data, "data")
        return Streamed(((row[image], row[label] if label else None) for row in data), classes)
    if is_of(data, "keras.PyDataset"):
        return Streamed(data[i] for i in range(len(data)))
    if isinstance(data, (str, bytes, Mapping, set, frozenset)) or hasattr(data, "__getitem__"):
        return None
    if is_of(data, "torch.IterableDataset") or isinstance(data, Iterator):
        return Streamed(data)
    if is_of(data, "torch.DataLoader"):
        return Streamed(data) if is_of(data.dataset, "torch.IterableDataset") else None
    if is_of(data, "tensorflow.DatasetV2", "tensorflow.Dataset"):
        if int(data.cardinality()) == -1:
            raise UserError("the stream does not end: take a part of it, with data.take(N)")
        names = getattr(data, "class_names", None)
        return Streamed(data, tuple(names) if names else None)
    return Streamed(data) if isinstance(data, Iterable) and not hasattr(data, "__len__") else None
