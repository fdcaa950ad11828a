"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

from typing import Any

from keras_transfer import plots
from keras_transfer.evaluation.metrics import CALIBRATION_BINS
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
    }
