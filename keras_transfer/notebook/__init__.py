"""HTML views of the package's objects in notebooks, registered with IPython's display formatter."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

VIEWS = {
    "keras_transfer.classifier.Classifier": "of_classifier",
    "keras_transfer.data.dataset.Dataset": "of_dataset",
    "keras_transfer.data.dataset.Split": "of_split",
    "keras_transfer.evaluation.leaderboard.Leaderboard": "of_leaderboard",
    "keras_transfer.evaluation.predict.Prediction": "of_prediction",
    "keras_transfer.evaluation.result.Evaluation": "of_evaluation",
    "keras_transfer.training.fit_result.FitResult": "of_fit",
    "keras_transfer.training.range_test.Sweep": "of_sweep",
}
"""Type → the function of `keras_transfer.notebook.views` that renders it; neither is imported until it is needed."""


def register(shell: Any) -> None:
    """Make an IPython shell show objects of the types in `VIEWS` as HTML."""
    formatter = shell.display_formatter.formatters["text/html"]
    for name, view in VIEWS.items():
        module, _, type_name = name.rpartition(".")
        formatter.for_type_by_name(module, type_name, partial(_render, view))


def _render(view: str, thing: Any) -> str:
    made: str = getattr(import_module("keras_transfer.notebook.views"), view)(thing)
    return made
