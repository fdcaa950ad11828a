"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

from typing import Any

from keras_transfer import plots
from keras_transfer.evaluation.judged import Judged
from keras_transfer.evaluation.metrics import CALIBRATION_BINS, classification_metrics
from keras_transfer.formatting import share
from keras_transfer.html.drawing import drawing
from keras_transfer.report.run_view import RunView


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``calibration.html``."""
    figures = view.figures
    bins = figures["calibration"]
    label = (
        f"Reliability diagram: accuracy against confidence; the mean distance between them is {share(figures['ece'])}."
    )
    rows = [
        (k / CALIBRATION_BINS, (k + 1) / CALIBRATION_BINS, int(count), confidence, accuracy)
        for k, (count, confidence, accuracy) in enumerate(zip(bins["count"], bins["confidence"], bins["accuracy"]))
        if count
    ]
    return {
        "plot": drawing(lambda out: plots.reliability(figures, out), label, "cal"),
        "rows": rows,
        "ece": figures["ece"],
        "temperature": temperature(view.metrics.get("temperature"), view.judged),
    }


def temperature(value: float | None, judged: Judged | None) -> dict[str, float | None] | None:
    """Return a temperature, and calibration error and loss without it.

    Args:
        value: what the logits are divided by; None: nothing was scaled.
        judged: the predictions with it, if they are at hand.
    """
    if value is None:
        return None
    if judged is None:
        return {"value": value, "ece": None, "loss": None}
    split = judged.split
    before = classification_metrics(judged.logits * value, split.labels, split.classes)
    return {"value": value, "ece": before["ece"], "loss": before["loss"]}
