"""The kinds of data sets in memory, each turned into images and labels: `read` is a table of them.

What has a length and items is read item by item: the order, the batches and the workers are the package's own. What can only be
read from front to end is read once, and its images are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from keras_transfer.data.images.given import CHANNELS, check_shape
from keras_transfer.data.objects.gathering import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    LEARN_FROM,
    Items,
    TooLarge,
    column,
    column_of,
    described,
    gathered,
    is_sample,
    sample,
    stream,
)
from keras_transfer.data.objects.hugging_face import columns_of
from keras_transfer.data.objects.pixels import (
    Pixels,
    channels_last,
    host_array,
    is_encoded,
    is_image,
    is_of,
    is_picture,
    is_single,
    is_tensor,
)
from keras_transfer.data.objects.several import in_lists
from keras_transfer.errors import UserError

ACCEPTED = (
    "a path, arrays or tensors (x, y), lists of pictures with labels, a keras.utils.PyDataset, tf.data.Dataset, torch DataLoader or "
    "Dataset, Hugging Face Dataset, pandas DataFrame with the columns path and label, or a dictionary of these by split"
)


def read(data: Any, what: str = "data") -> Items:
    """Return the images of an object of any kind, labelled or not.

    Raises:
        UserError: the object is of no known kind, or holds something else than images.
    """
    for matches, reader in KINDS:
        if matches(data) and not isinstance(data, type):  # a class has the methods of its objects
            return reader(data, what)
    raise UserError(f"{what}: expected {ACCEPTED}; received {type(data).__name__}")


# --- Arrays, lists and tables ---


def _is_pair(data: Any) -> bool:
    return (
        isinstance(data, tuple)
        and len(data) in (2, 3)
        and not all(is_image(part) and not is_tensor(part) for part in data)
    )


def _pair(data: Any, what: str) -> Items:
    """(x, y) or (x, y, sample weights)."""
    labels = column(data[1], f"{what}: y")
    pictures = data[0]
    if is_tensor(pictures) and len(pictures.shape) == 3 and len(pictures) == len(labels):
        pictures = list(host_array(pictures))  # grey images, also where they are as wide as a colour has channels
    images = read(pictures, what)
    if len(labels) != len(images.images):
        raise UserError(f"{what}: {len(images.images)} images but {len(labels)} labels")
    weights = None if len(data) < 3 or data[2] is None else [float(w) for w in column(data[2], f"{what}: weights")]
    return replace(images, labels=labels, weights=weights)


def _array(data: Any, what: str) -> Items:
    array = host_array(data)
    if array.dtype == object:
        return _list(list(array), what)
    if not is_of(data, "torch.Tensor"):  # whose channels come first by custom
        check_shape(array.shape)
    array = channels_last(array, is_of(data, "torch.Tensor")) if array.ndim == 4 else array
    single = is_single(data)
    if array.ndim not in (2, 3, 4) or (array.ndim == 4 and array.shape[-1] not in CHANNELS):
        raise UserError(
            f"{what}: images must have the shape (n, height, width) or (n, height, width, 1, 3 or 4), received {array.shape}"
        )
    pixels = Pixels()
    images: Any = [data] if single else array
    pixels.learn([array if single else array[:: max(1, len(array) // LEARN_FROM)]], what)
    return Items(images, pixels=pixels)


def _list(data: Sequence[Any], what: str) -> Items:
    """Images, (image, label) pairs, or dictionaries with an image and a label."""
    data = list(data)
    if not data:
        return Items([])
    if all(is_image(item) for item in data):
        pixels = Pixels()
        pixels.learn(islice((item for item in data if is_tensor(item)), LEARN_FROM), what)
        return Items(data, pixels=pixels)
    if all(is_sample(item) for item in data):
        return gathered(map(sample, data), len(data), what)
    odd = next(item for item in data if not (is_image(item) or is_sample(item)))
    raise UserError(f"{what}: expected {ACCEPTED}; received a list with {described(odd)}")


def _table(data: Any, what: str) -> Items:
    """Return the images of a pandas DataFrame with columns of paths (or pictures) and labels."""
    names = [str(name) for name in data.columns]
    image = column_of(names, ("path", "file", "filename", *IMAGE_COLUMNS), what)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    items = _list(data[image].tolist(), what)
    return replace(items, labels=None if label is None else in_lists(data[label].tolist(), label))


# --- torch ---


def _torch_loader(loader: Any, what: str) -> Items:
    """Return the images behind a DataLoader: its data set, unless only the loader knows how to make samples of it."""
    from_batches = not hasattr(loader.dataset, "__getitem__") or is_of(loader.dataset, "torch.IterableDataset")
    collate = getattr(loader.collate_fn, "__name__", "")
    sampler: Any = getattr(loader, "sampler", None)
    known = is_of(sampler, "torch.RandomSampler", "torch.SequentialSampler", "torch.SubsetRandomSampler")
    if from_batches or collate not in ("default_collate", "default_convert") or not known:
        return stream(loader, what, names=_class_names(loader.dataset))
    rows = sorted({int(i) for i in sampler.indices}) if is_of(sampler, "torch.SubsetRandomSampler") else None
    items = read(loader.dataset, what)
    if rows is not None:
        items = _taken(items, rows)
    return replace(items, notes=(*items.notes, "order and batches are the classifier's own, not the DataLoader's"))


def _torch_dataset(data: Any, what: str) -> Items:
    """Return the images of a map-style data set: the files themselves where it only reads files."""
    if is_of(data, "torch.IterableDataset"):
        return stream(data, what)
    if is_of(data, "torch.Subset") and hasattr(data, "indices"):
        return _taken(read(data.dataset, what), [int(i) for i in data.indices])
    files = getattr(data, "samples", None)
    plain = all(getattr(data, name, None) is None for name in ("transform", "target_transform", "transforms"))
    if plain and hasattr(data, "classes") and isinstance(files, list) and files and _is_file(files[0]):
        return Items([path for path, _ in files], [label for _, label in files], _class_names(data))
    return _indexed(data, what)


def _is_file(sample: Any) -> bool:
    return isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], str) and Path(sample[0]).is_file()


def _indexed(data: Any, what: str) -> Items:
    """Return the images of anything with a length and items; they are kept unless they are too large for the memory."""
    count = _length(data, what)
    try:
        return gathered((sample(_item(data, i, what)) for i in range(count)), count, what, names=_class_names(data))
    except TooLarge:
        pass
    first, again = (_content(sample(data[0])[0]) for _ in range(2))
    if first != again:
        raise UserError(
            f"{what}: {type(data).__name__} gives other pixels each time (a random transform?), and is too large to keep in memory; "
            "leave the random part out and give it to fit as augment="
        )
    labels = [sample(_item(data, i, what))[1] for i in range(count)]
    return Items(_Lazy(data), labels, _class_names(data))


def _length(data: Any, what: str) -> int:
    try:
        return len(data)
    except Exception as error:
        raise _own_fault(error, what, f"len({type(data).__name__})") from error


def _item(data: Any, i: int, what: str) -> Any:
    """Return an item of somebody's data set; what its code raises is told with its place."""
    try:
        return data[i]
    except UserError:
        raise
    except Exception as error:
        raise _own_fault(error, what, f"item {i} of {type(data).__name__}") from error


def _own_fault(error: Exception, what: str, where: str) -> UserError:
    said = " ".join(str(error).split())[:200]
    return UserError(f"{what}: {where} raised {type(error).__name__}{': ' + said if said else ''}")


class _Lazy(Sequence[Any]):
    """The images of a data set object, read when they are asked for."""

    def __init__(self, data: Any):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return sample(self._data[int(index)])[0]


# --- Hugging Face ---


def _hugging_face(data: Any, what: str) -> Items:
    """Return the images of a `datasets.Dataset` as encoded files, so that the pixels are those of a folder."""
    data, image, label, classes = columns_of(data, what)
    if not hasattr(data, "__len__"):  # streamed
        return stream(((row[image], row[label] if label else None) for row in data), what, names=classes)
    labels = None if label is None else list(data[label])
    return Items(_Column(data, image), labels, classes)


class _Column(Sequence[Any]):
    """A column of a table, read row by row from the disk."""

    def __init__(self, data: Any, name: str):
        self._data, self._name = data, name

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return self._data[int(index)][self._name]


# --- Batches and streams ---


def _batches(data: Any, what: str) -> Items:
    """Return the images of a `keras.utils.PyDataset`, batch by batch; its workers and its shuffling are not used."""
    batches = (data[i] for i in range(len(data)))
    return stream(batches, what, names=_class_names(data), length=len(data))


def _tensorflow(data: Any, what: str) -> Items:
    """Return the images of a `tf.data.Dataset`; of an endless one, the first."""
    length = int(data.cardinality())  # -1: infinite, -2: unknown
    return stream(data, what, names=_class_names(data), length=length if length >= 0 else None, endless=length == -1)


# --- Parts ---


def _taken(items: Items, rows: Sequence[int]) -> Items:
    images = [items.images[i] for i in rows] if isinstance(items.images, list) else _Rows(items.images, rows)
    labels = None if items.labels is None else [items.labels[i] for i in rows]
    weights = None if items.weights is None else [items.weights[i] for i in rows]
    return replace(items, images=images, labels=labels, weights=weights)


class _Rows(Sequence[Any]):
    """Some items of a sequence."""

    def __init__(self, items: Sequence[Any], rows: Sequence[int]):
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._rows[int(index)]]


def _class_names(data: Any) -> tuple[str, ...] | None:
    """Return the class names that an object or the one inside it carries."""
    for _ in range(8):
        for name in ("classes", "class_names"):
            found = getattr(data, name, None)
            if isinstance(found, (list, tuple)) and found and all(isinstance(part, str) for part in found):
                return tuple(found)
        data = getattr(data, "dataset", None)
    return None


def _content(image: Any) -> bytes:
    return Pixels().open(image, "image").digest()


KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Items]], ...] = (
    (_is_pair, _pair),
    (is_tensor, _array),
    (lambda data: is_picture(data) or is_encoded(data), lambda data, _: Items([data])),
    (lambda data: is_of(data, "pandas.DataFrame"), _table),
    (lambda data: is_of(data, "datasets.Dataset", "datasets.IterableDataset"), _hugging_face),
    (lambda data: is_of(data, "torch.DataLoader"), _torch_loader),
    (lambda data: is_of(data, "torch.Dataset"), _torch_dataset),
    (lambda data: is_of(data, "tensorflow.DatasetV2", "tensorflow.Dataset"), _tensorflow),
    (lambda data: is_of(data, "keras.PyDataset"), _batches),
    (lambda data: isinstance(data, (list, tuple)), _list),
    (lambda data: isinstance(data, Iterator), stream),
    (
        lambda data: (
            hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes, Mapping))
        ),
        _indexed,
    ),
    (lambda data: isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping, set, frozenset)), stream),
)
