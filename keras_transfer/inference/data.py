"""Open the data to use a model on: the run's own, or other data labelled in the order of the model's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.evaluation.tasks import is_multi
from keras_transfer.runs import RunDirectory, where_data_are
from keras_transfer.typing import Say


def images_of(
    run: RunDirectory | None,
    source: str | Path,
    metadata: dict[str, Any],
    data: str | None,
    split: str,
    say: Say = lambda _: None,
) -> Split:
    """Return a split of ``data``, or of the run's own data if that is None, with the model's class order.

    Images of ``data`` that the run was trained on are left out, whatever their names are now, unless ``split`` asks for them.

    Args:
        run: the model's run, if any.
        source: the run directory or model file, for errors.
        metadata: the model's.
        data: another data source (folder, list, CSV or ``.npz``). If it has no splits, all of it is returned.
        split: ``train``, ``val``, ``test`` or ``all``.
        say: is told what was left out.

    Raises:
        UserError: the data is missing or has changed since training, or the split is empty.
    """
    if data is not None:
        return _other_data(run, data, metadata, split, say)
    if run is None:
        raise UserError(f"{source} is a model file without a run directory: name the data with --data")
    own = data_of(run)
    if own is None:
        raise UserError(
            f"the data of {run.path} has changed since training (images, labels or splits); name the data with --data: images "
            "that were trained on are recognized by their content"
        )
    if split == "val" and not len(own.val) and run.out_of_fold.is_file():
        raise UserError(
            f"the run {run.path} has no validation images: its model was chosen by out-of-fold predictions for the training "
            f"images, whose figures are in {run.metrics.name} and in the report (it has images for: {_filled(own)})"
        )
    return _split_of(own, split)


def data_of(run: RunDirectory, moved_to: str | None = None, advice: str = "say where with --data") -> Dataset | None:
    """Return the run's data with the splits it was trained on, or None if it has changed since.

    Args:
        run: the run.
        moved_to: where its data are now, if not where they were.
        advice: what to do if they have moved and nobody says where to.

    Raises:
        UserError: it can no longer be read, or is not there.
    """
    from keras_transfer.config.open_data import open_data

    data = open_data(where_data_are(run, moved_to, advice))
    if run.read_json(run.splits) != data.split_table():
        return None
    # Runs of earlier versions recorded names only.
    recorded = run.read_json(run.manifest)["data"]["fingerprint"] if run.pictures.is_file() else data.fingerprint
    return data if recorded == data.fingerprint else None


def _other_data(run: RunDirectory | None, data: str, metadata: dict[str, Any], split: str, say: Say) -> Split:
    from keras_transfer.data import build
    from keras_transfer.data.paths import source_of

    options: dict[str, Any] = dict(source_of(data))
    source = options.pop("source")
    classes = list(metadata["classes"])
    if source != "folder":  # folders are matched by name below; in other sources a label may be a number
        options["classes"] = classes
    opened = build(source, evaluation=True, depth=metadata.get("depth"), **options)
    opened = opened.with_classes(classes).as_task(is_multi(metadata))
    has_splits = bool((opened.samples.split != "").any())
    known = run.split_of_content() if run is not None else None
    if not known or opened.content is None:
        return _split_of(opened, split if has_splits else "all")
    was = np.array([known.get(bytes(row), "") for row in opened.content], object)
    return _unseen(opened, was, split, has_splits, say)


def _unseen(data: Dataset, was: np.ndarray, split: str, has_splits: bool, say: Say) -> Split:
    """Return a split without the images that the model has seen, and say how many.

    Args:
        data: not the run's own by name.
        was: the split that each image had in the run, object (n,); "" for new ones.
        split: as asked for.
        has_splits: whether the data has splits of its own.
        say: prints a line.
    """
    if not has_splits and split in ("train", "val") and (was == split).any():  # the run's own images, elsewhere
        return Split(split, data.samples, np.flatnonzero(was == split))
    chosen = _split_of(data, split if has_splits else "all")
    seen = np.isin(was[chosen.indices], ("train", "val"))
    if not seen.any():
        return chosen
    trained, judged = (int((was[chosen.indices] == name).sum()) for name in ("train", "val"))
    what = f"{trained} images that the model was trained on and {judged} by which it was chosen"
    if split in ("train", "all"):
        say(f"warning: among the {len(chosen)} images are {what}: figures for them say little about new images")
        return chosen
    if seen.all():
        raise UserError(
            f"{data.samples.source}: all {len(chosen)} images were used in training; --split all measures them"
        )
    say(f"left out: {what}, recognized by their content ({len(chosen) - int(seen.sum())} images remain)")
    return chosen.take(np.flatnonzero(~seen))


def _split_of(data: Dataset, split: str) -> Split:
    chosen: Split = getattr(data, split)
    if not len(chosen):
        raise UserError(f"there are no {split} images in this data (it has images for: {_filled(data)})")
    return chosen


def _filled(data: Dataset) -> str:
    return ", ".join(part.name for part in (data.train, data.val, data.test) if len(part)) or "no split"
