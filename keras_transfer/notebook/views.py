"""HTML views of data, classifier, sweeps, results and predictions, for light and dark themes.

Colours are mixtures with ``currentColor``, so the notebook's theme need not be known. A notebook that is not trusted
loses the style and keeps the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer import plots
from keras_transfer.errors import UserError
from keras_transfer.html.drawing import curves, drawing
from keras_transfer.html.templates import render_view
from keras_transfer.html.thumbnails import of_file, of_sample
from keras_transfer.ipython import current_cell

if TYPE_CHECKING:
    from keras_transfer.classifier import Classifier
    from keras_transfer.data.dataset import Dataset, Split
    from keras_transfer.evaluation.leaderboard import Leaderboard
    from keras_transfer.evaluation.predict import Prediction
    from keras_transfer.training.fit_result import FitResult
    from keras_transfer.training.range_test import Sweep

SHEET = 12
"""Maximum number of images in a sheet."""
LONGEST = 30
"""Maximum number of classes in the table of an evaluation; of more, the `WEAKEST` with the lowest F1."""
WEAKEST = 15


def of_dataset(data: Dataset) -> str:
    """Show counts by class and split, image sizes, and a sheet of training images."""
    from keras_transfer.report.sections.data import sizes_of

    splits = {"training": data.train, "validation": data.val, "test": data.test}
    rows = data.class_counts()
    return render_view(
        "dataset.html",
        __package__,
        data=data,
        splits={name: len(split) for name, split in splits.items()},
        rows=rows,
        most=max(max((sum(counts) for _, counts in rows), default=1), 1),
        sizes=sizes_of(data) if len(data.train) else None,
        sheet=_sheet(data.train),
    )


def of_split(split: Split) -> str:
    """Show the number of images, and some of them."""
    return render_view("split.html", __package__, split=split, sheet=_sheet(split))


def of_classifier(clf: Classifier) -> str:
    """Show backbone, input, classes, and trainable parameters by layer group."""
    groups = _groups(clf)
    return render_view(
        "classifier.html",
        __package__,
        clf=clf,
        facts=clf.metadata,
        groups=groups,
        total=clf.model.count_params(),
        trainable=sum(int(np.prod(weight.shape)) for weight in clf.model.trainable_weights),
        most=max((group["parameters"] for group in groups), default=1) or 1,
    )


def of_fit(result: FitResult) -> str:
    """Show the best epoch, phases, all epochs, and the curves unless the same cell shows them already."""
    shown = result.drawn_in is not None and result.drawn_in == current_cell()
    drawn = curves(result.history) if result.history and not shown else None
    return render_view("fit.html", __package__, result=result, curves=drawn)


def of_evaluation(figures: Mapping[str, Any]) -> str:
    """Show headline metrics with intervals, the confusion matrix, and the metrics of each class."""
    from keras_transfer.report.sections.classes import rows_of
    from keras_transfer.report.sections.confusion import matrix
    from keras_transfer.report.sections.result import headline

    if figures.get("task") == "multi":
        return _of_labels(figures)
    rows = rows_of(figures)
    if len(rows) > LONGEST:
        rows = sorted((row for row in rows if row["support"]), key=lambda row: row["f1"])[:WEAKEST]
    return render_view(
        "evaluation.html",
        __package__,
        figures=figures,
        headline=list(headline(figures)),
        confusion=matrix(figures["confusion"], list(figures["per_class"])),
        rows=rows,
        classes=len(figures["per_class"]),
    )


def _of_labels(figures: Mapping[str, Any]) -> str:
    """Show headline metrics and the metrics of each of several labels."""
    from keras_transfer.report.sections.several import headline

    rows = list(figures["per_class"].items())
    if len(rows) > LONGEST:
        known = (row for row in rows if row[1]["average_precision"] is not None)
        rows = sorted(known, key=lambda row: float(row[1]["average_precision"]))[:WEAKEST]
    shown = {"headline": list(headline(figures)), "rows": rows, "labels": len(figures["per_class"])}
    return render_view("evaluation_labels.html", __package__, figures=figures, **shown)


def of_leaderboard(board: Leaderboard) -> str:
    """Show the candidates with their figures and error bars, and which one was chosen."""
    from keras_transfer.report.sections.leaderboard import variables

    chosen = next((entry.candidate for entry in board.entries if entry.chosen), "")
    return render_view("leaderboard.html", __package__, chosen=chosen, **variables(board))


def of_prediction(prediction: Prediction) -> str:
    """Show classes and probabilities, and the image if it is a file."""
    rows = list(zip(prediction.classes, prediction.probabilities))
    return render_view("prediction.html", __package__, prediction=prediction, rows=rows, image=of_file(prediction.path))


def of_sweep(sweep: Sweep) -> str:
    """Show the suggestion, and loss against learning rate."""
    label = f"Loss against learning rate, {len(sweep.rates)} steps"
    drawn = drawing(lambda out: plots.rate_sweeps([sweep], out), label)
    return render_view("sweep.html", __package__, sweep=sweep, curves=drawn)


def _sheet(split: Split) -> list[dict[str, Any]]:
    """Return images of a split by class: as many of each as fit, or one of some classes."""
    present = np.flatnonzero(split.counts()) if split.is_multi else np.unique(split.labels)
    if not len(present):
        return []
    present = present[np.unique(np.linspace(0, len(present) - 1, SHEET).astype(int))]
    each = max(1, SHEET // len(present))
    has = split.labels.T > 0 if split.is_multi else None
    places = [
        place for c in present for place in np.flatnonzero(split.labels == c if has is None else has[c])[:each].tolist()
    ]
    if has is not None:
        places = list(dict.fromkeys(places))
    return [
        {
            "label": ", ".join(split.names_of(place)) or "no label",
            "name": split.image_name(place),
            "image": of_sample(split, place),
        }
        for place in places
    ]


def _groups(clf: Classifier) -> list[dict[str, Any]]:
    """Return layer groups from input to head; none for an unknown backbone."""
    from keras_transfer.models.groups import layer_groups
    from keras_transfer.models.layer_names import head_layers

    try:
        groups = layer_groups(clf.model, str(clf.metadata.get("backbone", "")))
    except UserError:
        return []
    return [_group(name, layers) for name, layers in [*groups, ("head", head_layers(clf.model))]]


def _group(name: str, layers: Sequence[Any]) -> dict[str, Any]:
    parameters = sum(layer.count_params() for layer in layers)
    trainable = sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)
    return {"name": name, "layers": len(layers), "parameters": parameters, "trainable": trainable}
