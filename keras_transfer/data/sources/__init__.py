"""The kinds of data that can be read. To add one: a file with ``load``, and one line in the table below.

`load` takes plain arguments, which are the options of the source, and returns a `SampleTable`. Another package adds a source
by an entry point in the group ``keras_transfer.sources``: its name, and where its ``Source`` is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import arrays, cifar10, cifar100, csv_file, digits, folder, idx, list_file
from keras_transfer.registry import Registry

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True)
class Source:
    """A kind of data: the function that reads it, and a short description."""

    load: Callable[..., SampleTable]
    description: str


_BUILT_IN = {
    "digits": Source(digits.load, "scikit-learn's handwritten digits"),
    "folder": Source(folder.load, "one folder per class, or train/val/test folders of them"),
    "list": Source(list_file.load, "text files of `path label` lines"),
    "csv": Source(csv_file.load, "a CSV file with path, label, and optionally split, weight, group"),
    "arrays": Source(arrays.load, "NumPy arrays or an .npz file"),
    "idx": Source(idx.load, "a folder with MNIST-like IDX files"),
    "cifar10": Source(cifar10.load, "CIFAR-10, local or downloaded"),
    "cifar100": Source(cifar100.load, "CIFAR-100, local or downloaded"),
}
SOURCES: Registry[Source] = Registry("data source", "keras_transfer.sources", Source, _BUILT_IN)
