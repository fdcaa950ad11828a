"""The figures of each of several labels, with precision-recall curves, and the images that the model knows least about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_transfer import plots
from keras_transfer.evaluation.judged import Judged
from keras_transfer.evaluation.tasks import DEFAULT_THRESHOLD
from keras_transfer.formatting import images, share
from keras_transfer.html.drawing import drawing
from keras_transfer.html.thumbnails import of_sample
from keras_transfer.report.run_view import RunView

LISTED, DRAWN, SHOWN = 500, 24, 12
"""Maximum number of labels in the table, of curves, and of images; of more labels, those with the lowest average precision."""

_FIGURES = (
    ("mean_average_precision", "Mean average precision", "mean over the labels of the area under the precision-recall curve"),
    ("micro_f1", "Micro F1", "F1, the harmonic mean of precision and recall, of all decisions together"),
    ("macro_f1", "Macro F1", "mean over the labels of F1: each label counts the same"),
    ("label_accuracy", "Decisions right", "fraction of right decisions about a label of an image"),
    ("accuracy", "All labels right", "fraction of images of which every label is right"),
    ("loss", "Log-loss", "binary cross-entropy in nats, mean over the labels; 0 is certain and correct"),
)  # fmt: skip


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``several.html``; None where images have one label each."""
    if not view.is_multi:
        return None
    rows = [{"name": name, **row} for name, row in view.figures["per_class"].items()]
    weakest = sorted(rows, key=lambda row: (row["average_precision"] is None, row["average_precision"]))
    drawn = {
        row["name"]: view.figures["curves"][row["name"]] for row in weakest if row["name"] in view.figures["curves"]
    }
    drawn = dict(list(drawn.items())[:DRAWN])
    text = f"Precision-recall curves of {len(drawn)} labels, with the lowest average precision first; the table has the figures."
    return {
        "rows": weakest[:LISTED] if len(rows) > LISTED else rows,
        "of": len(rows),
        "drawn": len(drawn),
        "plot": drawing(lambda out: plots.precision_recall(drawn, out), text, "pr") if drawn else None,
        "cards": _cards(view, view.judged) if view.judged is not None else [],
    }


def headline(figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the headline metrics as text, as `result.headline` does."""
    weighted = figures.get("weighted") or {}
    low, high = figures["accuracy_ci95"]
    for key, name, meaning in _FIGURES:
        if figures.get(key) is None:
            continue
        form = _plain if key == "loss" else share
        yield {
            "name": name,
            "value": form(figures[key]),
            "interval": f"{share(low)} to {share(high)}" if key == "accuracy" else "–",
            "weighted": form(weighted[key]) if weighted.get(key) is not None else "",
            "meaning": meaning,
        }


def verdict(view: RunView) -> str:
    """Return the result in one or two sentences."""
    figures = view.figures
    average = figures["mean_average_precision"]
    precision = "" if average is None else f"a mean average precision of {share(average)} and "
    text = (
        f"On {images(figures['n'], view.kind)} with several labels each, the model has {precision}an F1 of "
        f"{share(figures['micro_f1'])}; all labels are right on {share(figures['accuracy'])} of them."
    )
    return text + (" Each was predicted by a model that was trained without it (out of fold)." * view.is_out_of_fold)


def remarks(view: RunView) -> Iterator[str]:
    """Yield what deserves attention about the labels."""
    rows = view.figures["per_class"]
    known = {name: row for name, row in rows.items() if row["average_precision"] is not None}
    if known:
        weakest = min(known, key=lambda name: known[name]["average_precision"])
        row = known[weakest]
        if row["average_precision"] < 1:
            yield (
                f"The weakest label is “{weakest}”: average precision {share(row['average_precision'])}, recall "
                f"{share(row['recall'])} (of {images(row['support'])}), precision {share(row['precision'])}."
            )
    absent = [name for name in rows if name not in known]
    if absent:
        listed = ", ".join(f"“{name}”" for name in absent[:5]) + (
            f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        )
        yield f"There are no {view.kind} images with {listed}, so nothing is known about recall there."
    usual = sum(row["threshold"] == DEFAULT_THRESHOLD for row in rows.values())
    yield (
        f"The thresholds of {len(rows) - usual} labels are where F1 is highest on predictions for images that were not trained on"
        + (f"; {usual} keep {DEFAULT_THRESHOLD}." if usual else ".")
    )


def _cards(view: RunView, judged: Judged) -> list[dict[str, Any]]:
    """Return the images with the highest loss, with their labels and the predicted ones."""
    split = judged.split
    limits = np.array([row["threshold"] for row in view.figures["per_class"].values()])
    chosen = np.argsort(-judged.losses, kind="stable")[:SHOWN]
    found = judged.probabilities(chosen) >= limits
    return [
        {
            "name": split.image_name(int(i)),
            "image": of_sample(split, int(i)),
            "labels": ", ".join(split.names_of(int(i))),
            "predicted": ", ".join(view.classes[k] for k in np.flatnonzero(row)),
        }
        for i, row in zip(chosen, found)
    ]


def _plain(value: float) -> str:
    return f"{value:.4f}"
