"""Data sets of labelled images: read, checked, split, augmented and served as uint8 batches.

    data = keras_transfer.data.folder("photos/", image_size=224)
    data.train, data.val, data.test, data.classes

Importing this module imports neither Keras nor OpenCV.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from typing_extensions import Unpack

from keras_transfer.arguments import checked
from keras_transfer.arguments.names import NamesOrFile
from keras_transfer.arguments.types import (
    AnyPath,
    Depth,
    Fraction,
    Name,
    NonNegative,
    OptionalSize,
    Positive,
    Seed,
    SplitTable,
    Switch,
    Workers,
)
from keras_transfer.data.samples import SPLITS, BadImage
from keras_transfer.options import Resize

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Dataset, Split

__all__ = [
    "SPLITS",
    "BadImage",
    "Common",
    "Dataset",
    "Split",
    "arrays",
    "build",
    "cifar10",
    "cifar100",
    "csv",
    "digits",
    "folder",
    "idx",
    "list_file",
    "open",
    "parquet",
    "shards",
    "write_shards",
]


class Common(TypedDict, total=False):
    """Options that every function of this module takes; `builder.build` has their defaults and meaning."""

    val_fraction: Fraction
    test_fraction: Fraction
    seed: Seed
    color: Literal["auto", "rgb", "grey"]
    resize: Resize
    on_bad_image: Literal["error", "skip"]
    limit: Positive | None
    limit_test: Positive | None
    split_table: SplitTable
    depth: Depth | None
    workers: Workers


@checked
def build(source: Name, **options: Any) -> Dataset:
    """The data set of a source by name, with plain options; see `keras_transfer.data.builder.build`."""
    from keras_transfer.data import builder

    return builder.build(source, **options)


@checked
def folder(
    path: AnyPath,
    image_size: OptionalSize = None,
    *,
    classes: NamesOrFile = None,
    **common: Unpack[Common],
) -> Dataset:
    """A folder of class folders, or of train/val/test folders that hold class folders.

    Args:
        path: the folder.
        image_size: side, or (height, width), of the model's input; None: the backbone's own.
        classes: class names (or a text file of them) to fix their order or use only some of the folders.
        **common: val_fraction=0.15, test_fraction=0.15, seed=0, color="auto", resize="squash", on_bad_image="error",
            limit=None, limit_test=None, split_table=None, depth="auto", workers="auto": see `keras_transfer.data.builder.build`.

    Raises:
        UserError: the folder is missing or empty, has one class, unreadable images …

    Examples:
        >>> data = kt.data.folder("photos", image_size=32, seed=1)
        >>> data.classes
        ('apple', 'berry', 'cherry')
        >>> len(data.train) > len(data.val) > 0
        True
    """
    return build("folder", path=path, image_size=image_size, classes=classes, **common)


@checked
def list_file(
    path: AnyPath | None = None,
    image_size: OptionalSize = None,
    *,
    root: AnyPath | None = None,
    train: AnyPath | None = None,
    val: AnyPath | None = None,
    test: AnyPath | None = None,
    classes: NamesOrFile = None,
    **common: Unpack[Common],
) -> Dataset:
    """Text files of `path label` lines; see `sources.list_file.load`, and `folder` for the common options.

    Examples:
        >>> data = kt.data.list_file("images.txt", image_size=32)
        >>> data.train.read(0).shape
        (40, 40, 3)
    """
    return build(
        "list", path=path, root=root, train=train, val=val, test=test, classes=classes, image_size=image_size, **common
    )


@checked
def csv(
    path: AnyPath,
    image_size: OptionalSize = None,
    *,
    root: AnyPath | None = None,
    classes: NamesOrFile = None,
    **common: Unpack[Common],
) -> Dataset:
    """A CSV file with the columns path, label (or labels: `cat;dog`) and optionally split, weight, group; see `sources.csv_file.load`.

    Examples:
        >>> data = kt.data.csv("images.csv", image_size=32, test_fraction=0)
        >>> len(data.train) + len(data.val), len(data.test)
        (36, 0)
    """
    return build("csv", path=path, root=root, classes=classes, image_size=image_size, **common)


@checked
def arrays(x: Any = None, y: Any = None, image_size: OptionalSize = None, **options: Any) -> Dataset:
    """Images and labels in memory, or (x is a path) in an `.npz` file.

    Args:
        x: uint8 (n, h, w) or (n, h, w, 1 | 3 | 4), or the path of an `.npz` file.
        y: labels (n,), (n, 1), or 0 and 1 (n, C): one-hot, or several labels for an image.
        image_size: as in `folder`.
        **options: x_train, y_train, x_test …, weights, groups, classes (see `sources.arrays.load`) and the common
            options of `folder`.

    Raises:
        UserError: missing arrays, wrong dtype or shape, lengths that differ, labels out of range.

    Examples:
        >>> x = np.zeros((20, 8, 8, 3), np.uint8)
        >>> y = np.arange(20) % 2
        >>> data = kt.data.arrays(x, y, image_size=16, classes=["cat", "dog"])
        >>> data.classes
        ('cat', 'dog')
    """
    if isinstance(x, (str, os.PathLike)):
        options["path"], x = x, None
    return build("arrays", x=x, y=y, image_size=image_size, **options)


@checked
def open(  # noqa: A001  as in PIL.Image.open
    data: Any,
    y: Any = None,
    image_size: OptionalSize = None,
    *,
    classes: NamesOrFile = None,
    **common: Unpack[Common],
) -> Dataset:
    """Whatever holds labelled images; :meth:`Classifier.fit` opens its data with this.

    Args:
        data: a path (folder, `.csv`, `.npz` or list `.txt`); arrays or tensors of any framework, `(x, y)`, uint8 or 0..255 or
            0..1, channels first or last; a list of pictures of any sizes (arrays, PIL, paths), with `y`, or of
            (picture, label) pairs; a `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader` or `Dataset`, Hugging Face
            `datasets.Dataset`, pandas `DataFrame` with the columns path and label; or a dictionary of these with the keys
            `train`, `val` and `test`.
        y: labels, where `data` holds images only: numbers, names or one-hot; for several labels per image, lists of names or rows of 0
            and 1.
        image_size: as in `folder`.
        classes: class names in label order; by default those that the object has, else the labels themselves.
        **common: as in `folder`.

    Data sets with a length and items are read one by one, in their own order: batches, shuffling and workers are the package's own, so
    that splits, cached features and resuming work as for a folder. A stream is read once and kept in memory; of an endless one, the first
    10,000 images.

    Raises:
        UserError: another kind of object, no labels, pixels that are standardized already, data that does not fit into memory.

    Examples:
        >>> pictures = [np.zeros((9, 12, 3), np.uint8), np.zeros((20, 10), np.uint8)] * 10
        >>> data = kt.data.open(pictures, y=["cat", "dog"] * 10, image_size=16)
        >>> data.classes
        ('cat', 'dog')
    """
    from keras_transfer.data.objects import open_any

    return open_any(data, y, classes=classes, image_size=image_size, **common)


@checked
def idx(
    path: AnyPath,
    image_size: OptionalSize = None,
    *,
    classes: NamesOrFile = None,
    **common: Unpack[Common],
) -> Dataset:
    """A folder with MNIST-like IDX files; see `sources.idx.load`, and `folder` for the common options."""
    return build("idx", path=path, classes=classes, image_size=image_size, **common)


@checked
def shards(
    path: AnyPath,
    image_size: OptionalSize = None,
    *,
    classes: NamesOrFile = None,
    shard_cache: NonNegative = 20.0,
    skip_damaged_shards: Switch = False,
    label_column: str | None = None,
    **common: Unpack[Common],
) -> Dataset:
    """Tar shards, local or at an address; see `sources.shards.load`, and `folder` for the common options."""
    return build(
        "shards",
        path=path,
        classes=classes,
        shard_cache=shard_cache,
        skip_damaged_shards=skip_damaged_shards,
        label_column=label_column,
        image_size=image_size,
        **common,
    )


@checked
def write_shards(
    data: Any,
    output: AnyPath,
    y: Any = None,
    *,
    classes: NamesOrFile = None,
    size: int | str = "256MB",
    seed: Seed = 0,
    on_bad_image: Literal["error", "skip"] = "error",
    workers: Workers = "auto",
) -> int:
    """Write whatever holds labelled images as shards, which `shards` reads; a stream is never held in memory.

    Args:
        data: as for `open`; also streams of any length: a Hugging Face `datasets.IterableDataset`, a `tf.data.Dataset`, a torch
            `IterableDataset`, a generator of (picture, label) pairs; or a dictionary of them with the keys `train`, `val` and `test`.
        output: a new folder, or an address such as `s3://bucket/photos`.
        y: labels, where `data` holds images only.
        classes: class names in label order; a stream whose labels are names needs them, unless it has them itself.
        size: of a shard: bytes, or text such as `256MB`.
        seed: of the order. A stream is mixed 10,000 images (or 256 MiB) at a time.
        on_bad_image: "error" ends at an unreadable image; "skip" leaves them out.
        workers: threads that decode.

    Returns:
        How many images were written.

    Raises:
        UserError: another kind of object, labels that are none of the classes, unreadable images, an output that holds something else.

    Examples:
        >>> pictures = ((np.full((9, 12, 3), 20 * k, np.uint8), k % 2) for k in range(10))
        >>> kt.data.write_shards(pictures, "pictures-shards", classes=["even", "odd"])
        10
        >>> len(kt.data.shards("pictures-shards", image_size=16).all)
        10
    """
    from keras_transfer.data.writing.objects import write_any

    return write_any(
        data, os.fspath(output), y, classes, size=size, seed=seed, on_bad_image=on_bad_image, workers=workers
    )


@checked
def parquet(
    path: AnyPath,
    image_size: OptionalSize = None,
    *,
    classes: NamesOrFile = None,
    image_column: str | None = None,
    label_column: str | None = None,
    shard_cache: NonNegative = 20.0,
    skip_damaged_shards: Switch = False,
    **common: Unpack[Common],
) -> Dataset:
    """Parquet files with image bytes, local or at an address; see `sources.parquet.load`, and `folder` for the common options."""
    return build(
        "parquet",
        path=path,
        classes=classes,
        image_column=image_column,
        label_column=label_column,
        shard_cache=shard_cache,
        skip_damaged_shards=skip_damaged_shards,
        image_size=image_size,
        **common,
    )


@checked
def digits(image_size: OptionalSize = None, **common: Unpack[Common]) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey; see `folder` for the common options.

    Examples:
        >>> data = kt.data.digits(image_size=32, limit=100, limit_test=20)
        >>> len(data.classes), len(data.all)
        (10, 120)
    """
    return build("digits", image_size=image_size, **common)


@checked
def cifar10(path: AnyPath | None = None, image_size: OptionalSize = None, **common: Unpack[Common]) -> Dataset:
    """CIFAR-10 from a local folder or archive, else downloaded; see `sources.cifar10.load` and `folder`."""
    return build("cifar10", path=path, image_size=image_size, **common)


@checked
def cifar100(
    path: AnyPath | None = None,
    image_size: OptionalSize = None,
    *,
    labels: Literal["fine", "coarse"] = "fine",
    **common: Unpack[Common],
) -> Dataset:
    """CIFAR-100 from a local folder or archive, else downloaded; see `sources.cifar100.load` and `folder`."""
    return build("cifar100", path=path, labels=labels, image_size=image_size, **common)


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "Split"):
        from keras_transfer.data import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
