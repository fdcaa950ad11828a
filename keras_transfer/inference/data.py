"""Open the data to use a model on: the run's own, or other data labelled in the order of the model's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory, where_data_are
from keras_transfer.typing import Say


def images_of(
    run: RunDirectory | None,
    source: str | Path,
    metadata: dict[str, Any],
    data: str | None,
    split: str,
    say: Say = lambda line: None,
) -> Split:
    """Return a split of ``data``, or of the run's own data if that is None, with the model's class order.

    Args:
        run: the model's run, if any.
        source: the run directory or model file, for errors.
        metadata: the model's.
        data: another data source (folder, list, CSV or ``.npz``). If it has no splits, all of it is returned.
        split: ``train``, ``val``, ``test`` or ``all``.
        say: gets a line if images of ``data`` are left out because the run was trained on them.

    Raises:
        UserError: the data is missing or has changed since training, or the split is empty.
    """
    if data is not None:
        return _not_seen(run, _other_data(data, metadata, split), say)
    if run is None:
        raise UserError(f"{source} is a model file without a run directory: name the data with --data")
    own = data_of(run)
    if own is None:
        raise UserError(f"the data of {run.path} has changed since training; name the data with --data")
    if split == "val" and not len(own.val) and run.out_of_fold.is_file():
        raise UserError(
            f"the run {run.path} has no validation images: its model was chosen by out-of-fold predictions for the training "
            f"images, whose figures are in {run.metrics.name} and in the report (it has images for: {_filled(own)})"
        )
    return _split_of(own, split)


def data_of(run: RunDirectory, moved_to: str | None = None) -> Dataset | None:
    """Return the run's data with the splits it was trained on, or None if it has changed since.

    Args:
        run: the run.
        moved_to: where its data are now, if not where they were.

    Raises:
        UserError: it can no longer be read, or is not there.
    """
    from keras_transfer.config.open_data import open_data

    data = open_data(where_data_are(run, moved_to))
    return data if run.read_json(run.splits) == data.split_table() else None


def _not_seen(run: RunDirectory | None, split: Split, say: Say) -> Split:
    """Leave out the images that the run was trained on, or that chose its model; if those are all, say so and keep them."""
    seen = run.read_seen() if run is not None else None
    if run is None or seen is None:
        return split
    known = np.isin(split.digests(), seen)
    if known.all():
        say(f"{run.path} was trained on all {len(split)} images: its figures say nothing about new ones")
        return split
    if known.any():
        say(f"left out {known.sum()} of {len(split)} images, which {run.path} was trained on")
    return split.take(np.flatnonzero(~known))


def _other_data(data: str, metadata: dict[str, Any], split: str) -> Split:
    from keras_transfer.config.load import source_of
    from keras_transfer.data import build

    options: dict[str, Any] = dict(source_of(data))
    source = options.pop("source")
    classes = list(metadata["classes"])
    if source != "folder":  # folders are matched by name below; in other sources a label may be a number
        options["classes"] = classes
    opened = build(source, evaluation=True, **options).with_classes(classes)
    has_splits = bool((opened.samples.split != "").any())
    return _split_of(opened, split if has_splits else "all")


def _split_of(data: Dataset, split: str) -> Split:
    chosen: Split = getattr(data, split)
    if not len(chosen):
        raise UserError(f"there are no {split} images in this data (it has images for: {_filled(data)})")
    return chosen


def _filled(data: Dataset) -> str:
    return ", ".join(part.name for part in (data.train, data.val, data.test) if len(part)) or "no split"
