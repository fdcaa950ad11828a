"""Learning curves, phases, and time by stage."""

from __future__ import annotations

from typing import Any

from keras_transfer import plots
from keras_transfer.html.drawing import drawing
from keras_transfer.report.run_view import RunView

STAGES = (
    ("features", "features", "computing the outputs of frozen layers, once"),
    ("training", "training", "training steps"),
    ("waiting", "waiting for data", "training was idle until images were ready"),
    ("validation", "validation", "evaluating, and saving the best model, after each epoch"),
    ("rest", "other", "startup, reading the data, building the model, the final evaluation"),
)
"""Name, title and meaning, in the order of the bar."""


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``training.html``."""
    best = view.metrics["best"]
    label = "Loss, accuracy and learning rate by epoch, with the phases marked. The values are in the table below."
    if best.get("epoch"):
        label += f" The best epoch is number {best['epoch']} of phase {best['phase']}."
    phases = [_phase(view, phase) for phase in view.metrics["phases"]]
    return {
        "plot": drawing(lambda out: plots.curves(view.history, out), label, "cur")
        if _has_curves(view.history)
        else None,
        "phases": phases,
        "best": (best.get("phase"), best.get("epoch")),
        "history": view.history,
        "columns": _columns(view.history),
        "stages": _stages(view, phases),
        "seconds": view.metrics["seconds"],
    }


def _has_curves(history: list[dict[str, Any]]) -> bool:
    """Return whether there is a curve to draw: a phase with more than one row, which those that are solved, or judged by folds, have not."""
    phases = [row["phase"] for row in history]
    return len(set(phases)) < len(phases)


def _columns(history: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return key and heading of the figures of an epoch; those of validation only if something was validated."""
    validated = any(row.get("val_loss") is not None for row in history)
    own = [("loss", "Loss"), ("accuracy", "Accuracy")]
    return own + [("val_loss", "Validation loss"), ("val_accuracy", "Validation accuracy")] * validated


def _phase(view: RunView, phase: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a phase, with its seconds by stage."""
    images = view.manifest["data"]["images"]["train"]
    rows = [row for row in view.history if row["phase"] == phase["name"]]
    stepping = sum(images / row["images_per_second"] for row in rows if row["images_per_second"])
    waiting = sum(
        images / row["images_per_second"] * (row["data_wait"] or 0) for row in rows if row["images_per_second"]
    )
    settings = {one.name: one for one in view.config.phases}.get(phase["name"])
    times = {
        "features": phase.get("features_seconds", 0.0),
        "training": max(stepping - waiting, 0.0),
        "waiting": waiting,
        "validation": max(phase["seconds"] - stepping, 0.0),
    }
    return {**phase, "settings": settings, "times": times, "sum": sum(times.values())}


def _stages(view: RunView, phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the seconds of the whole run by stage, and their share."""
    seconds = {name: sum(phase["times"].get(name, 0.0) for phase in phases) for name, _, _ in STAGES}
    # Not negative: work repeated after a crash may be in one of the sums only.
    seconds["rest"] = max(view.metrics["seconds"] - sum(seconds.values()), 0.0)
    total = sum(seconds.values()) or 1.0
    return [
        {"name": name, "title": title, "meaning": meaning, "seconds": seconds[name], "share": seconds[name] / total}
        for name, title, meaning in STAGES
    ]
