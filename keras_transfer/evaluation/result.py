"""The result of an evaluation."""

from __future__ import annotations

from typing import Any


class Evaluation(dict[str, Any]):
    """The dictionary of `classification_metrics`, with a one-line ``repr`` and an HTML view in notebooks."""

    def __repr__(self) -> str:
        low, high = self["accuracy_ci95"]
        interval = f"95 % interval {low:.4f} to {high:.4f}"
        return f"Evaluation(accuracy {self['accuracy']:.4f}, {interval}, loss {self['loss']:.4f}, {self['n']} images)"
