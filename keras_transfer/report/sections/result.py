"""The verdict, the headline figures with their intervals, and what stands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_transfer.evaluation.intervals import of_confusion, of_mean, of_proportion
from keras_transfer.evaluation.metrics import log_softmax, most_confused
from keras_transfer.formatting import images, range_of, share
from keras_transfer.report.run_view import RunView

_MISCALIBRATED, _GAP, _WIDE, _WAITING, _UNBALANCED = 0.05, 0.1, 0.1, 0.2, 10

_FIGURES = (
    ("accuracy", "Accuracy", "share of the images whose most probable class is right"),
    ("top5_accuracy", "Top-5 accuracy", "share whose class is among the five most probable"),
    ("balanced_accuracy", "Balanced accuracy", "mean over the classes of the share found: each class counts the same"),
    ("macro_f1", "Macro F1", "mean over the classes of the harmonic mean of precision and recall"),
    ("loss", "Loss", "cross-entropy in nats: 0 is certain and right"),
    ("ece", "Calibration error", "mean distance of confidence from accuracy"),
)


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``result.html``."""
    rows = list(headline(view.figures, _losses(view)))
    return {"rows": rows, "remarks": list(_remarks(view)), "weighted": _weighted(view)}


def verdict(view: RunView) -> str:
    """The result in a sentence or two."""
    figures = view.figures
    text = (
        f"The model is right on {share(figures['accuracy'])} of {images(figures['n'], view.kind)} "
        f"(95\u00a0% interval: {_proportion(figures['accuracy'], figures['accuracy_ci95'], figures['n'])})."
    )
    mistakes = most_confused(figures["confusion"], view.classes)
    if not mistakes:
        return f"{text} It made no mistake there."
    first = mistakes[0]
    if first["count"] == 1:
        return f"{text} It made no mistake twice."
    return (
        f"{text} Its most frequent mistake: “{first['true']}” taken for “{first['predicted']}”, "
        f"{first['count']}\u00a0times."
    )


def headline(figures: Mapping[str, Any], losses: np.ndarray | None = None) -> Iterator[dict[str, Any]]:
    """The headline figures in words: name, value, 95 % interval, weighted value and meaning.

    Args:
        figures: what `classification_metrics` returns.
        losses: of each image, (n,), where they are known: the loss has an interval then.
    """
    intervals = _intervals(figures, losses)
    weighted = figures.get("weighted") or {}
    for key, name, meaning in _FIGURES:
        if figures.get(key) is None:
            continue
        form = _plain if key == "loss" else share
        yield {
            "name": name,
            "value": form(figures[key]),
            "interval": intervals.get(key, "–"),
            "weighted": form(weighted[key]) if weighted.get(key) is not None else "",
            "meaning": meaning,
        }


def _losses(view: RunView) -> np.ndarray | None:
    if view.evidence is None:
        return None
    labels = getattr(view.evidence.data, view.split).labels
    return -log_softmax(view.evidence.logits[view.split])[np.arange(len(labels)), labels]


def _intervals(figures: Mapping[str, Any], losses: np.ndarray | None) -> dict[str, str]:
    n, accuracy, top5 = figures["n"], figures["accuracy"], figures.get("top5_accuracy")
    found = {"accuracy": _proportion(accuracy, figures["accuracy_ci95"], n)}
    if accuracy < 1:
        intervals = of_confusion(figures["confusion"])
        found |= {key: range_of((low, high)) for key, (low, high) in intervals.items() if low < high}
    if top5 is not None:
        found["top5_accuracy"] = _proportion(top5, of_proportion(top5, n), n)
    if losses is not None:
        found["loss"] = range_of(of_mean(losses), _plain)
    return found


def _proportion(value: float, interval: Sequence[float], n: int) -> str:
    """An interval in words; the bootstrap has none where there is no mistake, but the rule of three has a bound.

    Hanley & Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983.
    """
    return range_of(interval) if value < 1 else f"{share(max(1 - 3 / n, 0.0))} or more"


def _weighted(view: RunView) -> bool:
    return "weighted" in view.figures


def _remarks(view: RunView) -> Iterator[str]:
    """What somebody should look at, if anything."""
    figures, metrics = view.figures, view.metrics
    if view.split == "val":
        yield (
            "There are no test images. The figures are of the validation images, which chose the best epoch, so "
            "they are a little too good."
        )
    low, high = figures["accuracy_ci95"]
    if high - low > _WIDE:
        yield f"With {images(figures['n'], view.kind)} the interval is wide: more would tell more."
    yield from _weakest(view)
    yield from _confidence(view)
    yield from _course(view)
    waited = [phase["name"] for phase in metrics["phases"] if (phase["data_wait"] or 0) > _WAITING]
    if waited:
        yield f"Training waited for images in {_listed(waited)}: more workers or smaller files would make it faster."


def _weakest(view: RunView) -> Iterator[str]:
    rows = {name: row for name, row in view.figures["per_class"].items() if row["support"]}
    weakest = min(rows, key=lambda name: rows[name]["f1"])
    if rows[weakest]["f1"] < 1:
        row = rows[weakest]
        yield (
            f"The weakest class is “{weakest}”: {share(row['recall'])} of its {row['support']} found, and "
            f"{share(row['precision'])} of what is taken for it is right."
        )
    absent = [name for name, row in view.figures["per_class"].items() if not row["support"]]
    if absent:
        yield f"No {view.kind} image shows {_listed(absent)}: nothing is known about that."


def _confidence(view: RunView) -> Iterator[str]:
    figures, smoothing = view.figures, view.config.model.label_smoothing
    if figures["ece"] <= _MISCALIBRATED:
        return
    bins = figures["calibration"]
    confidence = sum(c * v for c, v in zip(bins["count"], bins["confidence"]) if c) / sum(bins["count"])
    both = f"its mean confidence is {share(confidence)}, its accuracy {share(figures['accuracy'])}."
    if confidence > figures["accuracy"]:
        yield f"It is too sure of itself: {both}"
    else:
        why = f" Label smoothing ({smoothing:g}) does that." if smoothing else ""
        yield f"It is less sure than it could be: {both}{why}"


def _course(view: RunView) -> Iterator[str]:
    """What the curves say."""
    best, history = view.metrics["best"], view.history
    place = [
        k for k, row in enumerate(history) if (row["phase"], row["epoch"]) == (best.get("phase"), best.get("epoch"))
    ]
    if not place:
        return
    row = history[place[0]]
    if place[0] == len(history) - 1 and len(history) > 1:
        yield "The last epoch was the best one: more epochs may make it better."
    gap = (row["accuracy"] or 0) - (row["val_accuracy"] or 0)
    if gap > _GAP:
        yield (
            f"In the best epoch, training accuracy was {share(gap)} above validation: it learns the training images by "
            "heart. More images or more augmentation may help."
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name}”" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _plain(value: float) -> str:
    return f"{value:.4f}"
