"""Evaluating and predicting with a finished run or a model file: what the commands of these names do."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_transfer import runtime
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.files import check_output, write_json
from keras_transfer.runs import RunDirectory


def find_model(source: str | Path) -> tuple[Path, RunDirectory | None]:
    """Return the model file for a run directory or a model file, and its run if there is one.

    Raises:
        UserError: there is neither, or the file is none of a model.
    """
    path = Path(source)
    if path.is_dir():
        run = RunDirectory.open(path)
        if not run.model.is_file():
            raise UserError(f"the run {path} has no model.keras yet: no epoch has ended")
        return run.model, run
    if not path.is_file():
        raise UserError(f"no run directory or model file at {path}")
    if not zipfile.is_zipfile(path):  # said before a framework is imported
        raise UserError(f"{str(path)!r} is not a Keras model file (.keras), or is damaged")
    beside = RunDirectory(path.parent)
    return path, beside if beside.config.is_file() and beside.model == path else None


def start(
    source: str | Path, backend: str | None, device: str | None
) -> tuple[Any, dict[str, Any], RunDirectory | None]:
    """Settle the backend and load the model: (model, metadata, run)."""
    path, run = find_model(source)
    # The backend of the training is preferred, not needed: the model predicts the same on every one.
    trained_on = run.read_config().backend if run is not None else None
    choice = runtime.choose_backend(backend, trained_on if trained_on in runtime.installed_backends() else None)
    runtime.activate(choice.value, device or "auto")
    runtime.hide_progress_bars()
    from keras_transfer.engine.native import install
    from keras_transfer.models.bundle import load

    model, metadata = load(path)
    install(model)
    return model, metadata, run


def evaluate(
    source: str | Path,
    *,
    data: str | None = None,
    split: str = "test",
    json_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Measure a model on its run's own data, or on ``data``; print the figures and return them.

    Args:
        source: run directory or model file.
        data: another data source (folder, list, CSV or ``.npz``). A folder without train/test parts is used whole.
        split: ``train``, ``val``, ``test`` or ``all``.
        json_file: where to write the figures, too.
        backend: Keras backend.
        device: where to compute.
    """
    check_output("--json", json_file)
    model, metadata, run = start(source, backend, device)
    from keras_transfer.evaluation.evaluate import evaluate_split
    from keras_transfer.evaluation.table import metrics_table

    images = images_of(run, source, metadata, data, split)
    metrics = evaluate_split(model, images, transform_of(metadata), 32)
    Console().print(metrics_table(metrics))
    if json_file is not None:
        write_json(json_file, metrics)
    return metrics


def images_of(
    run: RunDirectory | None, source: str | Path, metadata: dict[str, Any], data: str | None, split: str
) -> Split:
    """Return one part of the run's own data, or of ``data``, labelled in the order of the model's classes.

    Raises:
        UserError: there is no such data, or nothing in that part of it.
    """
    return _other_data(data, metadata, split) if data is not None else _own_data(run, source, split)


def transform_of(metadata: dict[str, Any]) -> Any:
    """Return the evaluation transform that a model's metadata describes."""
    from keras_transfer.data.augment import Transform

    height, width = metadata["image_size"]
    return Transform((height, width), [], resize=metadata["resize"], color=metadata["color"])


def _own_data(run: RunDirectory | None, source: str | Path, split: str) -> Split:
    if run is None:
        raise UserError(f"{source} is a model file without its run: say with --data what to evaluate it on")
    data = data_of(run)
    if data is None:
        raise UserError(f"the data of {run.path} changed since the training; evaluate it with --data instead")
    return choose_split(data, split)


def data_of(run: RunDirectory) -> Dataset | None:
    """Return the run's own data, split as it was trained on; None if it changed since.

    Raises:
        UserError: it cannot be read any more.
    """
    from keras_transfer.config.open_data import open_data

    data = open_data(run.read_config())
    return data if run.read_json(run.splits) == data.split_table() else None


def choose_split(data: Dataset, split: str) -> Split:
    """Return one part of ``data`` (``train``, ``val``, ``test`` or ``all``).

    Raises:
        UserError: there is nothing in it.
    """
    chosen: Split = getattr(data, split)
    if not len(chosen):
        raise UserError(f"there are no {split} images in this data")
    return chosen


def _other_data(data: str, metadata: dict[str, Any], split: str) -> Split:
    """Open data that is not the run's own; its labels follow the order stored with the model, never that seen here."""
    from keras_transfer.config.load import source_of
    from keras_transfer.data import build

    options: dict[str, Any] = dict(source_of(data))
    source = options.pop("source")
    classes = list(metadata["classes"])
    if source != "folder":  # folders are matched by name below; elsewhere a label may be a number
        options["classes"] = classes
    opened = build(source, evaluation=True, **options).with_classes(classes)
    has_splits = bool((opened.samples.split != "").any())
    return choose_split(opened, split if has_splits else "all")


def predict(
    source: str | Path,
    paths: list[str],
    *,
    top: int = 3,
    json_file: str | None = None,
    csv_file: str | None = None,
    grid_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> list[Any]:
    """Classify images; print a line each (or write JSON or CSV) and return the predictions.

    Args:
        source: run directory or model file.
        paths: images, or folders of images.
        top: classes an image.
        json_file: write JSON here instead of printing.
        csv_file: write CSV here instead of printing.
        grid_file: draw the images with their predictions here.
        backend: Keras backend.
        device: where to compute.
    """
    from keras_transfer.evaluation import predict as prediction

    check_output("--json", json_file)
    check_output("--csv", csv_file)
    check_output("--grid", grid_file, ".png")
    prediction.find_images(paths)  # a mistyped path should not wait for a framework to load
    model, metadata, _ = start(source, backend, device)
    found = prediction.predict_files(model, metadata, paths, top=top)
    for item in found:
        if item.error:
            print(f"skipped: {item.path}: {item.error}", file=sys.stderr)
    if json_file is not None:
        prediction.write_json(found, json_file)
    elif csv_file is not None:
        prediction.write_csv(found, csv_file)
    else:
        for item in found:
            if not item.error:
                shown = "  ".join(f"{name} {p:.3f}" for name, p in zip(item.classes, item.probabilities))
                print(f"{item.path}: {shown}")
    if grid_file is not None:
        from keras_transfer.plots import predicted_files

        predicted_files(found, grid_file)
    return found
