"""Build a `Dataset` from the name of a source and plain options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import BeforeValidator

from keras_transfer.arguments import checked as checked_arguments
from keras_transfer.arguments.names import NamesOrFile
from keras_transfer.arguments.problems import short
from keras_transfer.arguments.types import (
    AnyPath,
    Depth,
    Fraction,
    OptionalSize,
    Positive,
    Seed,
    SplitTable,
    Switch,
    Workers,
)
from keras_transfer.data.checks.several import check_labels, notes_on_labels
from keras_transfer.data.checks.verify import Checked, drop_bad, with_leak_note
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.images.depth import FULL, remark
from keras_transfer.data.images.depth import chosen as choose_span
from keras_transfer.data.images.depth import parse as parse_depth
from keras_transfer.data.samples import DecodingStore, FileStore, SampleTable
from keras_transfer.data.sources import SOURCES
from keras_transfer.data.split import apply_table, assign, missing_from
from keras_transfer.data.statistics import sample_images
from keras_transfer.errors import UserError, unknown
from keras_transfer.options import Color, Resize


def _source(value: Any) -> Any:
    if isinstance(value, SampleTable):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected the name of a data source, got {short(value)}")
    return value


if TYPE_CHECKING:
    Source = str | SampleTable
else:
    Source = Annotated[Any, BeforeValidator(_source)]


@checked_arguments
def build(  # each parameter is a configuration key and a keyword of the functions in `keras_transfer.data`
    source: Source,
    *,
    image_size: OptionalSize = None,
    val_fraction: Fraction = 0.15,
    test_fraction: Fraction = 0.15,
    seed: Seed = 0,
    color: Literal["auto", "rgb", "grey"] = "auto",
    resize: Resize = "squash",
    on_bad_image: Literal["error", "skip"] = "error",
    limit: Positive | None = None,
    limit_test: Positive | None = None,
    split_table: SplitTable = None,
    depth: Depth | None = "auto",
    workers: Workers = "auto",
    evaluation: Switch = False,
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
        depth: values of 16-bit images that become 0 and 255: bits (8 to 16), or (low, high); "auto": as many bits as the training images
            use, or their own range if that is less than an eighth; None: 0 and 65535.
        workers: threads that check the images.
        evaluation: the data is for evaluation only: any number of classes and images is accepted, and only the
            source's own splits are used.
        **options: options of the source, see `source_options`; None means "not given".

    Raises:
        UserError: an invalid option, or unusable data.
    """
    size = parse_size(image_size)
    samples = source if isinstance(source, SampleTable) else load_source(source, options)
    if evaluation:
        samples, checked = drop_bad(samples, on_bad_image, workers)
        samples = _with_notes_on_labels(_with_depth(samples, checked, None if depth == "auto" else depth))
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
    samples = _with_notes_on_labels(_with_depth(samples, checked, depth))
    samples = with_leak_note(samples, checked.digests)
    return Dataset(samples, size, _color(color, samples), resize, tuple(checked.bad))


def _with_depth(samples: SampleTable, checked: Checked, depth: Any) -> SampleTable:
    """Return samples whose 16-bit images are read in their range, with a note on them."""
    images = samples.images
    if not isinstance(images, DecodingStore):
        return samples
    ranges = {i: checked.ranges[name] for i, name in enumerate(samples.names()) if name in checked.ranges}
    seen = [span for i, span in ranges.items() if samples.split[i] == "train"]
    span = choose_span(seen or ranges.values()) if depth == "auto" else parse_depth(depth)
    notes = (*samples.notes, remark(len(ranges), ranges.values(), span or FULL)) if ranges else samples.notes
    return replace(samples, images=images.with_depth(span), notes=notes)


def _with_notes_on_labels(samples: SampleTable) -> SampleTable:
    return replace(samples, notes=(*notes_on_labels(samples), *samples.notes)) if samples.is_multi else samples


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
    given = {key: value for key, value in _with_types(**options).items() if value is not None}
    for key in given:
        if not parameters:
            raise UserError(f"the data source {source!r} takes no options, got {key!r}")
        if key not in parameters:
            raise unknown(f"option of the data source {source!r}:", key, parameters)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise UserError(f"the data source {source!r} needs the option {key!r}")
    return SOURCES[source].load(**given)


@checked_arguments
def _with_types(
    *,
    path: AnyPath | None = None,
    root: AnyPath | None = None,
    train: AnyPath | None = None,
    val: AnyPath | None = None,
    test: AnyPath | None = None,
    classes: NamesOrFile = None,
    **others: Any,
) -> dict[str, Any]:
    """Return options of sources in their types; those that only one source has are its own to check."""
    return {"path": path, "root": root, "train": train, "val": val, "test": test, "classes": classes, **others}


def _check_classes(samples: SampleTable) -> None:
    """Raise UserError unless there are two classes with two images each."""
    if len(samples) == 0:
        raise UserError(f"{samples.source}: no images")
    if samples.is_multi:
        check_labels(samples)
        return
    if len(samples.classes) < 2:
        raise UserError(f"{samples.source}: only one class ({samples.classes[0]!r}); expected at least two")
    counts = np.bincount(samples.labels, minlength=len(samples.classes))
    for least, what in ((0, "no image"), (1, "only one image")):
        few = [samples.classes[c] for c in np.flatnonzero(counts == least)]
        if few:
            closed = _closed(samples, np.flatnonzero(counts == least)) if least else ""
            raise UserError(
                f"{samples.source}: {what} of {_shown(few)}; expected at least two of each class{closed or _hint(few)}"
            )


def _closed(samples: SampleTable, classes: np.ndarray) -> str:
    """Return which folder of these classes may not be listed and therefore counts as one image, or nothing."""
    if not isinstance(samples.images, FileStore):
        return ""
    for number in np.flatnonzero(np.isin(samples.labels, classes)):
        path = samples.images.path(int(number))
        try:
            if path.is_dir():
                list(path.iterdir())
        except OSError as error:
            return f"; cannot read the folder {str(path)!r}: {error.strerror or error}"
    return ""


def _hint(names: Sequence[str]) -> str:
    """Return what to do where names look like several labels for an image."""
    several = any(";" in name for name in names)
    return "; for several labels per image, give them in a CSV column called labels" if several else ""


def _check_training_classes(samples: SampleTable) -> None:
    if samples.is_multi:  # a label on no image is said in the notes
        return
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
