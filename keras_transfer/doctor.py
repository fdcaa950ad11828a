"""Looking a data set over before it is trained on: what the command `doctor` does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_transfer.config import load_config
from keras_transfer.config.load import recipe_names
from keras_transfer.config.schema import RunConfig
from keras_transfer.data import builder
from keras_transfer.data.checks.examine import Examined, examine
from keras_transfer.data.checks.findings import Finding, findings
from keras_transfer.data.samples import SampleTable
from keras_transfer.data.split import assign
from keras_transfer.errors import UserError
from keras_transfer.files import check_output, write_json

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_SHEET = 32  # images of a contact sheet


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
    """Examine a data set, print what may be wrong with it, and return that.

    Args:
        source: folder, list (``.txt``), ``.csv``, ``.npz``, or a configuration by path or name.
        run: a finished run (or model file), whose model tells likely label errors among images it was not trained on.
        json_file: where to write the findings, too.
        sheet_file: where to draw the images they are about.
        backend: Keras backend, with ``run``.
        device: where to compute, with ``run``.
        workers: threads that read images.

    Returns:
        ``source``, ``images``, ``classes``, ``splits`` and ``findings``, a list of ``check``, ``severity``,
        ``message`` and ``images`` (groups of names).

    Raises:
        UserError: the data cannot be found or opened at all, or a file cannot be written.
    """
    check_output("--json", json_file)
    check_output("--sheet", sheet_file, ".png")
    config = _config(source)
    samples = _open(config)
    examined = examine(samples, workers)
    split, found = _split(samples, examined, config)
    if run is not None:
        model, metadata, split = _model(run, samples, split, backend, device)
        found += findings(samples, examined, split, min(metadata["image_size"]))
        found += _label_errors(model, metadata, samples, examined, split)
    else:
        found += findings(samples, examined, split, _side(config))
    report = _report(samples, split, found)
    _print(report)
    if json_file is not None:
        write_json(json_file, report)
    if sheet_file is not None:
        _draw(sheet_file, samples, examined, found)
    return report


def _config(source: str) -> RunConfig:
    is_config = Path(source).suffix.lower() in (".yaml", ".yml") or (
        not Path(source).exists() and source in recipe_names()
    )
    return load_config(source) if is_config else load_config(None, data=source)


def _open(config: RunConfig) -> SampleTable:
    keys = ("path", "root", "train", "val", "test", "classes", "labels")
    options = {key: value for key, value in config.data.model_dump().items() if key in keys}
    samples = builder.load_source(config.data.source, {**options, **config.data.options})
    if not len(samples):
        raise UserError(f"{samples.source}: no images")
    return samples


def _split(samples: SampleTable, examined: Examined, config: RunConfig) -> tuple[np.ndarray, list[Finding]]:
    """The split that training would make: of the readable images, with the same seed."""
    split = np.full(len(samples), "", object)
    readable = np.flatnonzero([not error for error in examined.errors])
    try:
        data = config.data
        parts = assign(samples.take(readable), data.val_fraction, data.test_fraction, config.seed)
    except UserError as error:
        return split, [Finding("splits", "error", f"cannot be split: {error}")]
    split[readable] = parts.split
    return split, []


def _side(config: RunConfig) -> int | None:
    size: Any = config.data.image_size
    if size == "auto":
        from keras_transfer.models.backbones import BACKBONES

        record = BACKBONES.get(config.model.backbone)
        return None if record is None else record.image_size
    return size if isinstance(size, int) else min(size)


def _model(
    run: str, samples: SampleTable, split: np.ndarray, backend: str | None, device: str | None
) -> tuple[Any, dict[str, Any], np.ndarray]:
    """The run's model, and the splits that it was trained with as far as they name these images."""
    from keras_transfer.inference import start

    model, metadata, directory = start(run, backend, device)
    if set(samples.classes) - set(metadata["classes"]):
        raise UserError(f"{run} knows other classes than {samples.source}")
    table = {} if directory is None else directory.read_json(directory.splits)
    names = samples.names()
    if any(name in table for name in names):
        split = np.array([table.get(name, "") for name in names], object)
    return model, metadata, split


def _label_errors(
    model: Any, metadata: dict[str, Any], samples: SampleTable, examined: Examined, split: np.ndarray
) -> list[Finding]:
    """Labels that the model confidently disagrees with, the surest first.

    Confident learning (C. Northcutt, L. Jiang and I. Chuang, 2021): an image probably belongs to another class if its
    probability there reaches what that class's own images have in the mean. Only images that the model was not
    trained on are judged, since it may have learned the others by heart.
    """
    from keras_transfer.data.dataset import Split
    from keras_transfer.evaluation.evaluate import predict_logits
    from keras_transfer.evaluation.metrics import log_softmax
    from keras_transfer.inference import transform_of

    judged = np.flatnonzero((split != "train") & np.array([not error for error in examined.errors]))
    if not len(judged):
        return [Finding("likely label errors", "note", "every image was trained on: there is none to judge")]
    images = Split("judged", samples, judged)
    probabilities = np.exp(log_softmax(predict_logits(model, images, transform_of(metadata))))
    place = {name: i for i, name in enumerate(metadata["classes"])}
    labels = np.array([place[samples.classes[label]] for label in images.labels], np.int64)
    suspects = doubtful_labels(probabilities, labels)
    if not len(suspects):
        return []
    first = metadata["classes"][int(probabilities[suspects[0]].argmax())]
    name = images.image_name(int(suspects[0]))
    message = f"{len(suspects)} of {len(judged)} images not trained on, e.g. {name}, which may be {first}"
    return [Finding("likely label errors", "warning", message, tuple((int(judged[i]),) for i in suspects))]


def doubtful_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Places of likely label errors, the surest first.

    Args:
        probabilities: (n, C), of a model that has not seen these samples.
        labels: int64 (n,).
    """
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    means = np.bincount(labels, own, minlength=probabilities.shape[1]) / np.maximum(counts, 1)
    sure = np.where((probabilities >= means) & (counts > 0), probabilities, 0.0)
    other = sure.argmax(axis=1)
    margin = sure.max(axis=1) - own
    suspects = np.flatnonzero((other != labels) & (margin > 0))
    return suspects[np.argsort(-margin[suspects], kind="stable")]


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


def _print(report: dict[str, Any]) -> None:
    splits = ", ".join(f"{name} {count:,}" for name, count in report["splits"].items())
    console = Console()
    console.print(escape(f"{report['source']}: {report['images']:,} images, {report['classes']} classes ({splits})"))
    if not report["findings"]:
        console.print("nothing to complain about")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("severity", "check", "finding", "for example"):
        table.add_column(heading, overflow="fold")
    for row in report["findings"]:
        colour = _COLOURS[row["severity"]]
        example = " = ".join(row["images"][0][:2]) if row["images"] else ""
        table.add_row(f"[{colour}]{row['severity']}[/]", row["check"], escape(row["message"]), escape(example))
    console.print(table)


def _draw(path: str, samples: SampleTable, examined: Examined, found: list[Finding]) -> None:
    """A sheet with images of every finding in turn, copies and near duplicates side by side."""
    from keras_transfer.plots import prediction_grid

    chosen: list[tuple[int, str]] = []
    shown = [f for f in found if f.images and f.check != "unreadable"]
    for finding in shown:
        room = max(2, _SHEET // len(shown))
        here: list[tuple[int, str]] = []
        drawn = {i for i, _ in chosen}
        for group in finding.images:
            if drawn.issuperset(group[:2]):
                continue
            if len(here) + min(len(group), 2) > room:
                break
            here += [(i, finding.check) for i in group[:2]]
        chosen += here
    if not chosen:
        raise UserError(f"nothing to draw on {path}: there is no finding with readable images")
    images = [samples.images.read(i) for i, _ in chosen[:_SHEET]]
    titles = [
        f"{textwrap.fill(check, 16)}\n{samples.classes[samples.labels[i]]}\n{Path(samples.images.name(i)).name}"
        for i, check in chosen[:_SHEET]
    ]
    prediction_grid(images, titles, path, title=f"{samples.source}: what doctor found")
