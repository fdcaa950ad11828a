"""The input of a report: the files of a run and, if available, its images and model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.evaluation.metrics import log_softmax

if TYPE_CHECKING:
    from keras_transfer.config.resolved import ResolvedConfig
    from keras_transfer.data.dataset import Dataset
    from keras_transfer.runs import RunDirectory


@dataclass(frozen=True)
class Evidence:
    """Images, model and logits of a run, which its files do not contain.

    Attributes:
        data: the run's images.
        model: the run's model.
        logits: float32 (n, C) of each of ``"val"`` and ``"test"`` that has images, in the order of the split.
    """

    data: Dataset
    model: Any
    logits: dict[str, np.ndarray]

    @cached_property
    def probabilities(self) -> dict[str, np.ndarray]:
        """float64 (n, C) of each split that has logits."""
        return {name: np.exp(log_softmax(logits)) for name, logits in self.logits.items()}


@dataclass(frozen=True)
class RunView:
    """A finished run.

    Attributes:
        run: its directory.
        evidence: images, model and logits; None omits what needs them.
        missing: why there is no evidence.
    """

    run: RunDirectory
    evidence: Evidence | None = None
    missing: str = ""

    @cached_property
    def config(self) -> ResolvedConfig:
        """The resolved configuration."""
        return self.run.read_resolved()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``."""
        manifest: dict[str, Any] = self.run.read_json(self.run.manifest)
        return manifest

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``."""
        metrics: dict[str, Any] = self.run.read_json(self.run.metrics)
        return metrics

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``history.csv``."""
        return self.run.read_history()

    @property
    def split(self) -> str:
        """The evaluated split: ``"test"``, or ``"val"`` without test images."""
        return "test" if "test" in self.metrics else "val"

    @property
    def figures(self) -> dict[str, Any]:
        """The metrics of that split."""
        figures: dict[str, Any] = self.metrics[self.split]
        return figures

    @property
    def kind(self) -> str:
        """The name of that split in texts: ``"test"`` or ``"validation"``."""
        return {"test": "test", "val": "validation"}[self.split]

    @cached_property
    def classes(self) -> list[str]:
        """Class names, in label order."""
        return [str(name) for name in self.manifest["data"]["classes"]]
