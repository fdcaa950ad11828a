"""Build a `Dataset` from the name of a source and plain options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from keras_transfer.data.checks.verify import drop_bad, with_leak_note
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import SOURCES
from keras_transfer.data.split import apply_table, assign, missing_from
from keras_transfer.data.statistics import sample_images
from keras_transfer.errors import UserError, unknown
from keras_transfer.options import Color, Resize

_CHOICES = {
    "color": ("auto", *get_args(Color)),
    "resize": get_args(Resize),
    "on_bad_image": ("error", "skip"),
}


# Many parameters because each is a configuration key and a keyword of the functions in `keras_transfer.data`.
def build(
    source: str | SampleTable,
    *,
    image_size: int | Sequence[int] | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    color: Literal["auto", "rgb", "grey"] = "auto",
    resize: Resize = "squash",
    on_bad_image: Literal["error", "skip"] = "error",
    limit: int | None = None,
    limit_test: int | None = None,
    split_table: Mapping[str, str] | None = None,
    workers: int | str = "auto",
    evaluation: bool = False,
    **options: Any,
) -> Dataset:
    """Read a source, drop or refuse unusable images, and split it.

    Args:
        source: name in `SOURCES`; or samples that have been read already.
        image_size: side, or (height, width), of the model's input; None: the backbone's own.
        val_fraction: share of the validation split, unless the source has one.
        test_fraction: share of the test split, unless the source has one.
        seed: seed of the splits and of `limit`.
        color: "rgb", "grey", or "auto": grey if a sample of the images has no colour.
        resize: how images of another aspect ratio are fitted.
        on_bad_image: "error" refuses data with unreadable images and lists them; "skip" omits them and records them in
            `Dataset.skipped`.
        limit: maximum number of images in train and val together, stratified; applied after test is split off.
        limit_test: maximum number of test images.
        split_table: splits saved from `Dataset.split_table`; replaces splitting and limits.
        workers: threads that check the images.
        evaluation: the data is for evaluation only: any number of classes and images is accepted, and only the
            source's own splits are used.
        **options: options of the source, see `source_options`; None means "not given".

    Raises:
        UserError: an invalid option, or unusable data.
    """
    _check_options({"color": color, "resize": resize, "on_bad_image": on_bad_image})
    size = parse_size(image_size)
    samples = source if isinstance(source, SampleTable) else load_source(source, options)
    if evaluation:
        samples, checked = drop_bad(samples, on_bad_image, workers)
        return Dataset(samples, size, _color(color, samples), resize, tuple(checked.bad))
    _check_classes(samples)
    # Without a limit, all images are checked before splitting, so that bad files do not affect the split; with a
    # limit, only the images in use are checked.
    if limit is None:
        samples, checked = drop_bad(samples, on_bad_image, workers)
        _check_classes(samples)
    if split_table is not None:
        samples = apply_table(samples, dict(split_table))
    else:
        samples = assign(samples, val_fraction, test_fraction, seed, limit, limit_test)
    if limit is not None:
        samples, checked = drop_bad(samples, on_bad_image, workers)
    _check_training_classes(samples)
    samples = with_leak_note(samples, checked.digests)
    return Dataset(samples, size, _color(color, samples), resize, tuple(checked.bad))


def parse_size(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width) from a number or a pair; raises UserError for anything else."""
    if image_size is None:
        return None
    size = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    good = len(size) == 2 and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in size)
    if not good or min(size) < 1:
        raise UserError(f"image_size must be one or two whole numbers of at least 1, received {image_size!r}")
    return int(size[0]), int(size[1])


def source_options(source: str) -> Mapping[str, inspect.Parameter]:
    """Return the options of a source: the parameters of its `load`.

    Raises:
        UserError: there is no such source.
    """
    if source not in SOURCES:
        raise unknown("data source", source, SOURCES)
    return inspect.signature(SOURCES[source].load).parameters


def load_source(source: str, options: Mapping[str, Any]) -> SampleTable:
    """Return the samples of a source, neither checked nor split; options that are None count as not given.

    Raises:
        UserError: an unknown source or option, a missing option, or data that the source cannot read.
    """
    parameters = source_options(source)
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if not parameters:
            raise UserError(f"the data source {source!r} takes no options, got {key!r}")
        if key not in parameters:
            raise unknown(f"option of the data source {source!r}:", key, parameters)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise UserError(f"the data source {source!r} needs the option {key!r}")
    return SOURCES[source].load(**given)


def _check_options(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise unknown(name, value, _CHOICES[name])


def _check_classes(samples: SampleTable) -> None:
    """Raise UserError unless there are two classes with two images each."""
    if len(samples) == 0:
        raise UserError(f"{samples.source}: no images")
    if len(samples.classes) < 2:
        raise UserError(f"{samples.source}: only one class ({samples.classes[0]!r}); expected at least two")
    counts = np.bincount(samples.labels, minlength=len(samples.classes))
    for least, what in ((0, "no image"), (1, "only one image")):
        few = [samples.classes[c] for c in np.flatnonzero(counts == least)]
        if few:
            raise UserError(f"{samples.source}: {what} of {_shown(few)}; expected at least two of each class")


def _check_training_classes(samples: SampleTable) -> None:
    missing = missing_from(samples.labels[samples.split == "train"], samples.classes)
    if missing:
        raise UserError(f"{samples.source}: no training image of {_shown(missing)}")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _color(color: str, samples: SampleTable) -> Color:
    if color == "auto":
        seen = np.flatnonzero(samples.split == "train")
        seen = seen if len(seen) else np.arange(len(samples))
        return "grey" if sample_images(samples.images, seen, 64)[1] else "rgb"
    return cast(Color, color)
