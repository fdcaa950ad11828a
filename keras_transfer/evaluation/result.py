"""The result of an evaluation."""

from __future__ import annotations

from typing import Any


class Evaluation(dict[str, Any]):
    """The dictionary of `classification_metrics` (or `multilabel_metrics`), with a one-line ``repr`` and an HTML view in notebooks."""

    def __repr__(self) -> str:
        if self.get("task") == "multi":
            average = self["mean_average_precision"]
            precision = "" if average is None else f"mean average precision {average:.4f}, "
            f1 = f"F1 {self['micro_f1']:.4f} micro, {self['macro_f1']:.4f} macro"
            return f"Evaluation({precision}{f1}, loss {self['loss']:.4f}, {self['n']} images)"
        low, high = self["accuracy_ci95"]
        interval = f"95 % interval {low:.4f} to {high:.4f}"
        return f"Evaluation(accuracy {self['accuracy']:.4f}, {interval}, loss {self['loss']:.4f}, {self['n']} images)"
