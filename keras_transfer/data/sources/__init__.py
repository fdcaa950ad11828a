"""The kinds of data that can be read: a file and a line here each.

To add one, write `sources/NAME.py` with a function `load(...plain arguments...) -> SampleTable` and add it to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import arrays, cifar10, cifar100, csv_file, digits, folder, idx, list_file

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True)
class Source:
    """A kind of data: how to read it, and what it is in a few words."""

    load: Callable[..., SampleTable]
    description: str


SOURCES: dict[str, Source] = {
    "digits": Source(digits.load, "scikit-learn's handwritten digits"),
    "folder": Source(folder.load, "a folder a class, or train/val/test folders of them"),
    "list": Source(list_file.load, "text files of `path label` lines"),
    "csv": Source(csv_file.load, "a CSV file with path, label, and optionally split, weight, group"),
    "arrays": Source(arrays.load, "NumPy arrays or an .npz file"),
    "idx": Source(idx.load, "a folder with MNIST-like IDX files"),
    "cifar10": Source(cifar10.load, "CIFAR-10, local or downloaded"),
    "cifar100": Source(cifar100.load, "CIFAR-100, local or downloaded"),
}
