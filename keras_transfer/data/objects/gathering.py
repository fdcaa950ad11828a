"""Images and labels gathered from samples: read once, from front to end, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np

from keras_transfer.data.images.given import CHANNELS
from keras_transfer.data.objects.pixels import (
    Pixels,
    channels_last,
    file_of,
    host_array,
    is_encoded,
    is_image,
    is_of,
    is_picture,
    is_tensor,
)
from keras_transfer.errors import UserError

KEPT_BYTES = 2 << 30
"""Decoded images that are kept in memory."""
ENDLESS = 100_000
"""A stream of unknown length that has given so many images is taken for endless."""
LEARN_FROM = 64
MORE = " (kt.data.write_shards(data, FOLDER) takes all of a stream)"
"""Ends the notes on data of which only a part is used."""
IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "pixel_values", "x")
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label", "y")


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
        whole: whether these are all images; of a long stream, only the first are kept.
    """

    images: Sequence[Any]
    labels: Sequence[Any] | None = None
    classes: tuple[str, ...] | None = None
    weights: Sequence[float] | None = None
    pixels: Pixels = field(default_factory=Pixels)
    notes: tuple[str, ...] = ()
    whole: bool = True


def stream(
    elements: Iterable[Any],
    what: str,
    *,
    names: tuple[str, ...] | None = None,
    length: int | None = None,
    endless: bool = False,
) -> Items:
    """Read a stream of samples or batches once, and keep its images."""
    limit = ENDLESS // 10 if endless else None if length is not None else ENDLESS
    samples = samples_in(elements)
    try:
        found = gathered(islice(samples, limit), None, what, names=names, stop=length is None)
    except TooLarge:
        raise UserError(
            f"{what}: the images take more than {KEPT_BYTES >> 30} GiB in memory; give a folder, or a data set with items "
            "(__len__ and __getitem__), which are read one by one, or write it as shards: kt.data.write_shards(data, FOLDER)"
        ) from None
    if limit is not None and len(found.images) == limit:
        note = f"the stream does not end: its first {limit:,} images are used{MORE}"
        found = replace(found, notes=(*found.notes, note), whole=False)
    return found


class TooLarge(Exception):
    """The images do not fit into the memory that they may take."""


def gathered(
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
        TooLarge: they do not fit.
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
                raise TooLarge
            notes.append(
                f"only the first {len(images):,} images are used: more would take over {KEPT_BYTES >> 30} GiB of memory{MORE}"
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
        whole=not notes,
    )


def _kept(image: Any, pixels: Pixels, name: str) -> Any:
    """Return an image as it is kept: not what may change, nor what holds a whole batch in memory."""
    if is_picture(image):
        return file_of(image) or pixels.open(image, name).pixels()
    return np.array(pixels.array(image, name)) if is_tensor(image) else image


def _size(image: Any) -> int:
    return image.nbytes if isinstance(image, np.ndarray) else len(image) if isinstance(image, bytes) else 200


def samples_in(elements: Iterable[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (image, label, weight) of a stream of samples or batches; what is not there is None."""
    return chain.from_iterable(map(_samples, elements))


def _samples(element: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the samples of an element of a stream: a sample, or a batch of them."""
    image, label, weight = sample(element)
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


def is_sample(item: Any) -> bool:
    """Return whether an item of a list is an image with a label (and a weight)."""
    if isinstance(item, Mapping):
        return not is_encoded(item) and any(name in item for name in IMAGE_COLUMNS)
    return isinstance(item, (tuple, list)) and len(item) in (2, 3) and is_image(item[0])


def sample(item: Any) -> tuple[Any, Any, Any]:
    """Return image, label and weight of a sample or of a batch; what is not there is None."""
    if isinstance(item, Mapping) and not is_encoded(item):
        image = column_of(list(item), IMAGE_COLUMNS, "sample")
        return item[image], next((item[name] for name in LABEL_COLUMNS if name in item), None), None
    several_paths = isinstance(item, list) and bool(item) and isinstance(item[0], (str, bytes))
    if isinstance(item, (tuple, list)) and len(item) in (1, 2, 3) and not several_paths:
        image, label, weight = (*item, None, None)[:3]
        return image, label, weight
    return item, None, None


def column(values: Any, what: str) -> list[Any]:
    """Return labels or weights as a list: of numbers, names or one-hot rows."""
    if is_tensor(values) and len(values.shape):
        return list(host_array(values))
    if (
        isinstance(values, (str, bytes, set, frozenset, Mapping))
        or is_tensor(values)
        or not isinstance(values, Iterable)
    ):
        raise UserError(f"{what}: expected one value for each image, received {described(values)}")
    return list(values)


def column_of(names: Sequence[str], wanted: Sequence[str], what: str) -> str:
    """Return the first of the wanted column names that there is; raises UserError without one."""
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise UserError(f"{what}: no column of images among {', '.join(names) or 'none'} (expected: {wanted[0]})")
    return found


def described(value: Any) -> str:
    """Return what an object is, for an error."""
    return f"an array of shape {value.shape}" if is_tensor(value) else f"{type(value).__name__} {str(value)[:60]!r}"
