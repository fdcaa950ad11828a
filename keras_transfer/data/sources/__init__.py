"""The kinds of data that can be read. To add one: a file with ``load``, and one line in the table below.

Another package adds a source by an entry point in the group ``keras_transfer.sources``: its name, and where its
``Source`` is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import (
    arrays,
    cifar10,
    cifar100,
    csv_file,
    digits,
    folder,
    idx,
    list_file,
    parquet,
    shards,
)
from keras_transfer.registry import Registry

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True)
class Source:
    """A kind of data: the function that reads it. The function's parameters are the options of the source."""

    load: Callable[..., SampleTable]


_BUILT_IN = {
    "digits": Source(digits.load),
    "folder": Source(folder.load),
    "list": Source(list_file.load),
    "csv": Source(csv_file.load),
    "arrays": Source(arrays.load),
    "shards": Source(shards.load),
    "parquet": Source(parquet.load),
    "idx": Source(idx.load),
    "cifar10": Source(cifar10.load),
    "cifar100": Source(cifar100.load),
}
SOURCES: Registry[Source] = Registry("data source", "keras_transfer.sources", Source, _BUILT_IN)
