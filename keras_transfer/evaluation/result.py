"""What was measured, as a terminal and a notebook show it."""

from __future__ import annotations

from typing import Any


class Evaluation(dict[str, Any]):
    """The dictionary of `classification_metrics`: a ``dict`` in every way but how it is shown."""

    def __repr__(self) -> str:
        low, high = self["accuracy_ci95"]
        interval = f"95 % interval {low:.4f} to {high:.4f}"
        return f"Evaluation(accuracy {self['accuracy']:.4f}, {interval}, loss {self['loss']:.4f}, {self['n']} images)"
