"""The summary, the headline metrics with their intervals, and remarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_transfer.evaluation.intervals import of_confusion, of_mean, of_proportion
from keras_transfer.evaluation.metrics import most_confused
from keras_transfer.evaluation.tasks import MULTI
from keras_transfer.formatting import images, range_of, share
from keras_transfer.report.run_view import RunView
from keras_transfer.report.sections import several

_MISCALIBRATED, _GAP, _WIDE, _WAITING, _UNBALANCED = 0.05, 0.1, 0.1, 0.2, 10

_FIGURES = (
    ("accuracy", "Accuracy", "fraction of images whose most probable class is correct"),
    ("top5_accuracy", "Top-5 accuracy", "fraction whose class is among the five most probable"),
    ("balanced_accuracy", "Balanced accuracy", "mean recall over the classes: each class counts the same"),
    ("macro_f1", "Macro F1", "mean over the classes of F1, the harmonic mean of precision and recall"),
    ("loss", "Log-loss", "cross-entropy in nats, without label smoothing; 0 is certain and correct"),
    ("ece", "Calibration error", "expected calibration error: mean distance between confidence and accuracy"),
)


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``result.html``."""
    rows = list(headline(view.figures, _losses(view)))
    return {"rows": rows, "remarks": list(remarks(view)), "weighted": _weighted(view)}


def verdict(view: RunView) -> str:
    """Return the result in one or two sentences."""
    figures = view.figures
    if view.is_multi:
        return several.verdict(view)
    text = (
        f"The model classifies {share(figures['accuracy'])} of {images(figures['n'], view.kind)} "
        f"correctly (95\u00a0% interval: {_proportion(figures['accuracy'], figures['n'])})."
    )
    if view.is_out_of_fold:
        text += " Each was predicted by a model that was trained without it (out of fold)."
    mistakes = most_confused(figures["confusion"], view.classes)
    if not mistakes:
        return f"{text} It made no mistakes."
    first = mistakes[0]
    if first["count"] == 1:
        return f"{text} No two classes were confused more than once."
    return (
        f"{text} The most frequent confusion: “{first['true']}” predicted as “{first['predicted']}”, "
        f"{first['count']}\u00a0times."
    )


def headline(figures: Mapping[str, Any], losses: np.ndarray | None = None) -> Iterator[dict[str, Any]]:
    """Yield the headline metrics as text: name, value, 95 % interval, weighted value and meaning.

    Args:
        figures: the result of `classification_metrics`.
        losses: loss of each image, (n,), if known: needed for the interval of the loss.
    """
    if figures.get("task") == MULTI:
        yield from several.headline(figures)
        return
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
    return None if view.judged is None else view.judged.losses


def _intervals(figures: Mapping[str, Any], losses: np.ndarray | None) -> dict[str, str]:
    n, accuracy, top5 = figures["n"], figures["accuracy"], figures.get("top5_accuracy")
    found = {"accuracy": _proportion(accuracy, n)}
    if accuracy < 1:
        intervals = of_confusion(figures["confusion"])
        found |= {key: range_of((low, high)) for key, (low, high) in intervals.items() if low < high}
    if top5 is not None:
        found["top5_accuracy"] = _proportion(top5, n)
    if losses is not None:
        found["loss"] = range_of(of_mean(losses), _plain)
    return found


def _proportion(value: float, n: int) -> str:
    """Return Wilson's interval as text; the figures of a run of an earlier version have another one."""
    return range_of(of_proportion(value, n))


def _weighted(view: RunView) -> bool:
    return "weighted" in view.figures


def remarks(view: RunView) -> Iterator[str]:
    """Yield what deserves attention."""
    figures, metrics = view.figures, view.metrics
    for outcome in metrics.get("outcomes", []):
        if not outcome.get("accepted", True):
            yield f"Fine-tuning ({outcome['phase']}) did not help on held-out images: the head on frozen features was kept."
        more = outcome.get("unlabelled") or {"accepted": True}
        if not more["accepted"]:
            yield f"{more['images']:,} images without labels did not clearly help on held-out images and were not used."
    if view.is_out_of_fold:
        yield (
            "There are neither validation nor test images. The metrics are those of out-of-fold predictions: each training "
            f"image was predicted by a model trained without it. {_optimistic(view)}The final model is trained on all of them."
        )
    if view.split == "val":
        yield (
            "There are no test images. The metrics are those of the validation images, which also selected the best "
            "epoch, so they are slightly optimistic."
        )
    low, high = of_proportion(figures["accuracy"], figures["n"])
    if high - low > _WIDE and not view.is_multi:
        yield f"With {images(figures['n'], view.kind)} the interval is wide; more images would narrow it."
    yield from _course(view)
    yield from several.remarks(view) if view.is_multi else (*_weakest(view), *_confidence(view))
    waited = [phase["name"] for phase in metrics["phases"] if (phase["data_wait"] or 0) > _WAITING]
    if waited:
        yield f"Training waited for images in {_listed(waited)}: more workers or smaller files would speed it up."


def _optimistic(view: RunView) -> str:
    """Return why out-of-fold figures flatter the model, if they do."""
    if view.leaderboard is None or len(view.leaderboard.entries) < 2:
        return ""
    return f"They also chose among {len(view.leaderboard.entries)} candidates, so they are slightly optimistic. "


def _weakest(view: RunView) -> Iterator[str]:
    rows = {name: row for name, row in view.figures["per_class"].items() if row["support"]}
    weakest = min(rows, key=lambda name: rows[name]["f1"])
    if rows[weakest]["f1"] < 1:
        row = rows[weakest]
        yield (
            f"The weakest class is “{weakest}”: recall {share(row['recall'])} (of {images(row['support'])}), precision "
            f"{share(row['precision'])}."
        )
    absent = [name for name, row in view.figures["per_class"].items() if not row["support"]]
    if absent:
        yield f"There are no {view.kind} images of {_listed(absent)}, so nothing is known about recall there."


def _confidence(view: RunView) -> Iterator[str]:
    figures, smoothing = view.figures, view.config.model.label_smoothing
    if figures["ece"] <= _MISCALIBRATED:
        return
    bins = figures["calibration"]
    confidence = sum(c * v for c, v in zip(bins["count"], bins["confidence"]) if c) / sum(bins["count"])
    both = f"its mean confidence is {share(confidence)}, its accuracy {share(figures['accuracy'])}."
    if confidence > figures["accuracy"]:
        yield f"It is overconfident: {both}"
    else:
        why = f" Label smoothing ({smoothing:g}) has this effect." if smoothing else ""
        yield f"It is underconfident: {both}{why}"


def _course(view: RunView) -> Iterator[str]:
    """Yield remarks on the learning curves."""
    best, history = view.metrics["best"], view.history
    place = [
        k for k, row in enumerate(history) if (row["phase"], row["epoch"]) == (best.get("phase"), best.get("epoch"))
    ]
    if not place:
        return
    row = history[place[0]]
    if row["val_accuracy"] is None:  # without validation, no epoch is known to be the best
        return
    if place[0] == len(history) - 1 and row["epoch"] > 1:
        yield "The last epoch was the best one: more epochs may help."
    if any(one["phase"] == row["phase"] for one in view.metrics.get("outcomes", ())):
        return  # solved or judged by folds: chosen by predictions for images it had not seen, it fits the others better by design
    gap = (row["accuracy"] or 0) - row["val_accuracy"]
    if gap > _GAP:
        yield (
            f"In the best epoch, training accuracy was {share(gap)} above validation accuracy: the model overfits. "
            "More images or more augmentation may help."
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name}”" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _plain(value: float) -> str:
    return f"{value:.4f}"
