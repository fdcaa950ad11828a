"""The kinds of data sets in memory, each turned into images and labels: `read` is a table of them.

What has a length and items is read item by item: the order, the batches and the workers are the package's own. What can only be
read from front to end is read once, and its images are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.images.given import CHANNELS, check_shape
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
from keras_transfer.errors import UserError

KEPT_BYTES = 2 << 30
"""Decoded images that are kept in memory."""
ENDLESS = 100_000
"""A stream of unknown length that has given so many images is taken for endless."""
LEARN_FROM = 64
IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "pixel_values", "x")
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label", "y")
ACCEPTED = (
    "a path, arrays or tensors (x, y), lists of pictures with labels, a keras.utils.PyDataset, tf.data.Dataset, torch DataLoader or "
    "Dataset, Hugging Face Dataset, pandas DataFrame with the columns path and label, or a dictionary of these by split"
)


@dataclass(frozen=True)
class Items:
    """The images of an object, and what is known about them.

    Attributes:
        images: see `pixels.ACCEPTED`; items may be read anew whenever they are asked for.
        labels: one per image: a number, a name, or one-hot; None: unlabelled.
        classes: class names, where the object has them.
        weights: of the samples, or None.
        pixels: knows the range of floating-point pixels.
        notes: what was decided, one line each.
    """

    images: Sequence[Any]
    labels: Sequence[Any] | None = None
    classes: tuple[str, ...] | None = None
    weights: Sequence[float] | None = None
    pixels: Pixels = field(default_factory=Pixels)
    notes: tuple[str, ...] = ()


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
    if all(_is_sample(item) for item in data):
        return _gathered(map(_sample, data), len(data), what)
    odd = next(item for item in data if not (is_image(item) or _is_sample(item)))
    raise UserError(f"{what}: expected {ACCEPTED}; received a list with {_described(odd)}")


def _table(data: Any, what: str) -> Items:
    """Return the images of a pandas DataFrame with columns of paths (or pictures) and labels."""
    names = [str(name) for name in data.columns]
    image = _column_of(names, ("path", "file", "filename", *IMAGE_COLUMNS), what)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    items = _list(data[image].tolist(), what)
    return replace(items, labels=None if label is None else data[label].tolist())


# --- torch ---


def _torch_loader(loader: Any, what: str) -> Items:
    """Return the images behind a DataLoader: its data set, unless only the loader knows how to make samples of it."""
    from_batches = not hasattr(loader.dataset, "__getitem__") or is_of(loader.dataset, "torch.IterableDataset")
    collate = getattr(loader.collate_fn, "__name__", "")
    sampler: Any = getattr(loader, "sampler", None)
    known = is_of(sampler, "torch.RandomSampler", "torch.SequentialSampler", "torch.SubsetRandomSampler")
    if from_batches or collate not in ("default_collate", "default_convert") or not known:
        return _stream(loader, what, names=_class_names(loader.dataset))
    rows = sorted({int(i) for i in sampler.indices}) if is_of(sampler, "torch.SubsetRandomSampler") else None
    items = read(loader.dataset, what)
    if rows is not None:
        items = _taken(items, rows)
    return replace(items, notes=(*items.notes, "order and batches are the classifier's own, not the DataLoader's"))


def _torch_dataset(data: Any, what: str) -> Items:
    """Return the images of a map-style data set: the files themselves where it only reads files."""
    if is_of(data, "torch.IterableDataset"):
        return _stream(data, what)
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
    try:
        return _gathered(map(_sample, (data[i] for i in range(len(data)))), len(data), what, names=_class_names(data))
    except _TooLarge:
        pass
    first, again = (_content(_sample(data[0])[0]) for _ in range(2))
    if first != again:
        raise UserError(
            f"{what}: {type(data).__name__} gives other pixels each time (a random transform?), and is too large to keep in memory; "
            "leave the random part out and give it to fit as augment="
        )
    labels = [_sample(data[i])[1] for i in range(len(data))]
    return Items(_Lazy(data), labels, _class_names(data))


class _Lazy(Sequence[Any]):
    """The images of a data set object, read when they are asked for."""

    def __init__(self, data: Any):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return _sample(self._data[int(index)])[0]


# --- Hugging Face ---


def _hugging_face(data: Any, what: str) -> Items:
    """Return the images of a `datasets.Dataset` as encoded files, so that the pixels are those of a folder."""
    features = data.features or {}
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    image = image or _column_of(list(features), IMAGE_COLUMNS, what)
    label = next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    label = label or next((name for name in LABEL_COLUMNS if name in features), None)
    classes = tuple(features[label].names) if label and kinds[label] == "ClassLabel" else None
    data = data.with_format(None)  # torch, numpy or a transform would hide the files
    if kinds[image] == "Image":
        import datasets

        data = data.cast_column(image, datasets.Image(decode=False))
    if not hasattr(data, "__len__"):  # streamed
        return _stream(((row[image], row[label] if label else None) for row in data), what, names=classes)
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
    return _stream(batches, what, names=_class_names(data), length=len(data))


def _tensorflow(data: Any, what: str) -> Items:
    """Return the images of a `tf.data.Dataset`; of an endless one, the first."""
    length = int(data.cardinality())  # -1: infinite, -2: unknown
    return _stream(data, what, names=_class_names(data), length=length if length >= 0 else None, endless=length == -1)


def _stream(
    elements: Iterable[Any],
    what: str,
    *,
    names: tuple[str, ...] | None = None,
    length: int | None = None,
    endless: bool = False,
) -> Items:
    """Read a stream of samples or batches once, and keep its images."""
    limit = ENDLESS // 10 if endless else None if length is not None else ENDLESS
    samples = chain.from_iterable(map(_samples, elements))
    try:
        found = _gathered(islice(samples, limit), None, what, names=names, stop=length is None)
    except _TooLarge:
        raise UserError(
            f"{what}: the images take more than {KEPT_BYTES >> 30} GiB in memory; give a folder, or a data set with items "
            "(__len__ and __getitem__), which are read one by one"
        ) from None
    if limit is not None and len(found.images) == limit:
        note = f"the stream does not end: its first {limit:,} images are used"
        found = replace(found, notes=(*found.notes, note))
    return found


class _TooLarge(Exception):
    """The images do not fit into the memory that they may take."""


def _gathered(
    samples: Iterable[tuple[Any, Any, Any]],
    length: int | None,
    what: str,
    *,
    names: tuple[str, ...] | None = None,
    stop: bool = False,
) -> Items:
    """Keep the images of samples, as uint8 arrays or as they are encoded.

    Args:
        samples: (image, label or None, weight or None).
        length: number of samples, if it is known: whether they fit is then known after the first ones.
        what: name of the data in errors.
        names: class names.
        stop: use the first images if not all fit, in place of an error.

    Raises:
        _TooLarge: they do not fit.
    """
    pixels, notes = Pixels(), []
    images: list[Any] = []
    labels: list[Any] = []
    weights: list[Any] = []
    samples = iter(samples)
    first = list(islice(samples, LEARN_FROM))
    pixels.learn((image for image, _, _ in first), what)
    size = 0
    for image, label, weight in chain(first, samples):
        kept = _kept(image, pixels, f"{what}: image {len(images)}")
        size += _size(kept)
        expected = (
            size * (length / (len(images) + 1)) if length and len(images) + 1 >= min(LEARN_FROM, length) else size
        )
        if expected > KEPT_BYTES:
            if not stop:
                raise _TooLarge
            notes.append(
                f"only the first {len(images):,} images are used: more would take over {KEPT_BYTES >> 30} GiB of memory"
            )
            break
        images.append(kept)
        labels.append(label)
        weights.append(weight)
    labelled = bool(labels) and labels[0] is not None
    weighted = bool(weights) and weights[0] is not None
    return Items(
        images,
        labels if labelled else None,
        names,
        [float(host_array(w)) for w in weights] if weighted else None,
        pixels,
        tuple(notes),
    )


def _kept(image: Any, pixels: Pixels, name: str) -> Any:
    """Return an image as it is kept: not what may change, nor what holds a whole batch in memory."""
    from keras_transfer.data.objects.pixels import file_of

    if is_picture(image):
        return file_of(image) or pixels.open(image, name).pixels()
    return np.array(pixels.array(image, name)) if is_tensor(image) else image


def _size(image: Any) -> int:
    return image.nbytes if isinstance(image, np.ndarray) else len(image) if isinstance(image, bytes) else 200


def _samples(element: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the samples of an element of a stream: a sample, or a batch of them."""
    image, label, weight = _sample(element)
    if not _is_batch(image, label):
        yield image, label, weight
        return
    images = list(channels_last(host_array(image), is_of(image, "torch.Tensor"))) if is_tensor(image) else list(image)
    labels = [None] * len(images) if label is None else column(label, "labels")
    weights = [None] * len(images) if weight is None else column(weight, "weights")
    yield from zip(images, labels, weights, strict=True)


def _is_batch(image: Any, label: Any) -> bool:
    if not is_tensor(image):
        return isinstance(image, (list, tuple))
    rank = len(image.shape)
    if rank != 3:
        return rank > 3
    if image.shape[-1] in CHANNELS or image.shape[0] in CHANNELS:
        return False
    return label is not None and is_tensor(label) and len(label.shape) > 0 and len(label) == len(image)


def _is_sample(item: Any) -> bool:
    if isinstance(item, Mapping):
        return not is_encoded(item) and any(name in item for name in IMAGE_COLUMNS)
    return isinstance(item, (tuple, list)) and len(item) in (2, 3) and is_image(item[0])


def _sample(item: Any) -> tuple[Any, Any, Any]:
    """Return image, label and weight of a sample or of a batch; what is not there is None."""
    if isinstance(item, Mapping) and not is_encoded(item):
        image = _column_of(list(item), IMAGE_COLUMNS, "sample")
        return item[image], next((item[name] for name in LABEL_COLUMNS if name in item), None), None
    several_paths = isinstance(item, list) and bool(item) and isinstance(item[0], (str, bytes))
    if isinstance(item, (tuple, list)) and len(item) in (1, 2, 3) and not several_paths:
        image, label, weight = (*item, None, None)[:3]
        return image, label, weight
    return item, None, None


# --- Parts ---


def column(values: Any, what: str) -> list[Any]:
    """Return labels or weights as a list: of numbers, names or one-hot rows."""
    if is_tensor(values) and len(values.shape):
        return list(host_array(values))
    if (
        isinstance(values, (str, bytes, set, frozenset, Mapping))
        or is_tensor(values)
        or not isinstance(values, Iterable)
    ):
        raise UserError(f"{what}: expected one value for each image, received {_described(values)}")
    return list(values)


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


def _column_of(names: Sequence[str], wanted: Sequence[str], what: str) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise UserError(f"{what}: no column of images among {', '.join(names) or 'none'} (expected: {wanted[0]})")
    return found


def _content(image: Any) -> bytes:
    return Pixels().open(image, "image").digest()


def _described(value: Any) -> str:
    return f"an array of shape {value.shape}" if is_tensor(value) else f"{type(value).__name__} {str(value)[:60]!r}"


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
    (lambda data: isinstance(data, Iterator), _stream),
    (
        lambda data: (
            hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, bytes, Mapping))
        ),
        _indexed,
    ),
    (lambda data: isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping, set, frozenset)), _stream),
)
