"""Examine the images of a data set and report what may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import text
from keras_transfer.config import load_config
from keras_transfer.config.load import recipe_names
from keras_transfer.config.open_data import source_options
from keras_transfer.config.schema import BACKBONE, RunConfig
from keras_transfer.console import wrote
from keras_transfer.data import builder
from keras_transfer.data.checks.examine import examine
from keras_transfer.data.checks.findings import Finding, findings
from keras_transfer.data.samples import SampleTable
from keras_transfer.data.split import assign
from keras_transfer.doctor.labels import label_errors
from keras_transfer.doctor.show import draw_sheet, print_report
from keras_transfer.errors import UserError
from keras_transfer.files import check_output, write_json


def doctor(
    source: str,
    *,
    run: str | None = None,
    json_file: str | None = None,
    sheet_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    workers: int | str = "auto",
) -> dict[str, Any]:
    """Examine a data set; print the findings and return them.

    Args:
        source: folder, list (``.txt``), ``.csv``, ``.npz``, or a configuration by path or name.
        run: a finished run or model file, whose model finds likely label errors among images it was not trained on.
        json_file: also write the findings here.
        sheet_file: draw the images of the findings here.
        backend: Keras backend, with ``run``.
        device: where to compute, with ``run``.
        workers: threads that read images.

    Returns:
        ``source``, ``images``, ``classes``, ``splits`` and ``findings``, a list of ``check``, ``severity``,
        ``message`` and ``images`` (groups of names).

    Raises:
        UserError: the data cannot be found or opened, or a file cannot be written.
    """
    check_output("--json", json_file)
    check_output("--output", sheet_file, ".png")
    config = _config(source)
    samples = _open(config)
    examined = examine(samples, workers)
    readable = np.array([not error for error in examined.errors], bool)
    split, found = _split(samples, readable, config)
    if run is not None:
        model, metadata, split = _model(run, samples, split, backend, device)
        found += findings(samples, examined, split, min(metadata["image_size"]))
        found += label_errors(model, metadata, samples, np.flatnonzero(readable & (split != "train")))
    else:
        found += findings(samples, examined, split, _side(config))
    report = _report(samples, split, found)
    print_report(report)
    if json_file is not None:
        write_json(json_file, report)
        wrote(json_file)
    if sheet_file is not None:
        if draw_sheet(sheet_file, samples, found):
            wrote(sheet_file)
        else:
            text.complain(f"no finding has images to draw: {sheet_file} is not written")
    return report


def _config(source: str) -> RunConfig:
    is_config = Path(source).suffix.lower() in (".yaml", ".yml") or (
        not Path(source).exists() and source in recipe_names()
    )
    return load_config(source) if is_config else load_config(None, data=source)


def _open(config: RunConfig) -> SampleTable:
    samples = builder.load_source(config.data.source, source_options(config))
    if not len(samples):
        raise UserError(f"{samples.source}: no images")
    return samples


def _split(samples: SampleTable, readable: np.ndarray, config: RunConfig) -> tuple[np.ndarray, list[Finding]]:
    """Split the readable images as training would, with the same seed; a failure is a finding."""
    split = np.full(len(samples), "", object)
    try:
        data = config.data
        parts = assign(samples.take(np.flatnonzero(readable)), config.val_fraction, data.test_fraction, config.seed)
    except UserError as error:
        return split, [Finding("splits", "error", f"cannot be split: {error}")]
    split[readable] = parts.split
    return split, []


def _side(config: RunConfig) -> int | None:
    """Return the shorter side in pixels that the model is to be trained with, or None if unknown."""
    size: Any = config.data.image_size
    if size == "auto":
        from keras_transfer.models.backbones import BACKBONES

        name = config.model.backbone
        record = BACKBONES.get(BACKBONE if name == "auto" else name)
        return None if record is None else record.image_size
    return size if isinstance(size, int) else min(size)


def _model(
    run: str, samples: SampleTable, split: np.ndarray, backend: str | None, device: str | None
) -> tuple[Any, dict[str, Any], np.ndarray]:
    """Load the run's model and metadata, and take over the splits it was trained with where they name these images."""
    from keras_transfer.inference import start

    model, metadata, directory = start(run, backend, device)
    if missing := set(samples.classes) - set(metadata["classes"]):
        raise UserError(f"{samples.source} has classes that {run} does not have: {', '.join(sorted(missing))}")
    table = {} if directory is None else directory.read_json(directory.splits)
    names = samples.names()
    if any(name in table for name in names):
        split = np.array([table.get(name, "") for name in names], object)
    return model, metadata, split


def _report(samples: SampleTable, split: np.ndarray, found: list[Finding]) -> dict[str, Any]:
    def names(groups: Iterable[tuple[int, ...]]) -> list[list[str]]:
        return [[samples.images.name(i) for i in group] for group in groups]

    return {
        "source": samples.source,
        "images": len(samples),
        "classes": len(samples.classes),
        "splits": {name: int((split == name).sum()) for name in ("train", "val", "test")},
        "findings": [
            {"check": f.check, "severity": f.severity, "message": f.message, "images": names(f.images)} for f in found
        ],
    }
