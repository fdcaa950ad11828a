"""CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009)."""

from __future__ import annotations

import os

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import _cifar

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(path: str | os.PathLike[str] | None = None) -> SampleTable:
    """Read CIFAR-10: 32 x 32 colour images of 10 classes, with its own test split.

    Args:
        path: a folder or tar archive: the original `cifar-10-python.tar.gz`, or class folders of JPEGs (with
            train.txt, test.txt and classes.txt). Without it, `keras.datasets` downloads the original.

    Raises:
        UserError: the path is missing, damaged or holds something else, or the download fails.
    """
    if path is None:
        return _cifar.load_keras("cifar10", CLASSES)
    batches = [f"data_batch_{k}" for k in range(1, 6)]
    return _cifar.load_local(
        path,
        batches[0],
        CLASSES,
        lambda root: _cifar.read_pickles(root, batches, "test_batch", b"labels", CLASSES, f"cifar10 {path}"),
        f"cifar10 {path}",
    )
