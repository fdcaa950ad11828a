"""Store the events of a training in its run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.models import bundle
from keras_transfer.models.novelty import NOVELTY
from keras_transfer.policy.resolve import decisions_as_json
from keras_transfer.runs import RunDirectory
from keras_transfer.training import build
from keras_transfer.training.events import TrainingEvents
from keras_transfer.training.loggers import Loggers


class RunEvents(TrainingEvents):
    """Write models, history and later decisions to the run directory, and pass history rows to the loggers.

    Args:
        run: the run directory.
        config: configuration of the run; replaced when a learning rate is found or memory runs out.
        data: data of the run.
        manifest: content of ``manifest.json``.
        loggers: experiment loggers.
        changed: whether a resumed run differs from how it was started; its files are then rewritten.

    Attributes:
        novelty: what model files say about the novelty that the model computes; empty: it computes none.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: ResolvedConfig,
        data: Dataset,
        manifest: dict[str, Any],
        loggers: Loggers,
        changed: bool,
    ):
        self.run, self.config, self.data = run, config, data
        self.manifest, self.loggers, self.changed = manifest, loggers, changed
        self.wants_every_epoch = config.output.every_epoch
        self.thresholds: list[float] | None = None
        self.novelty: dict[str, Any] = {}

    def begun(self) -> None:
        """Write what changed since the run was started."""
        if self.changed:
            self._keep()

    def rate_found(self, phase: int, rate: float) -> None:
        """Write the learning rate to the configuration of the run."""
        self.change(self.config.with_learning_rate(phase, rate, "by a range test"))

    def change(self, config: ResolvedConfig) -> None:
        """Continue with another configuration, and write it."""
        self.config = config
        self._keep()

    def improved(self, model: keras.Model) -> None:
        """Write ``model.keras``."""
        self.save(model, self.run.model)

    def epoch_model(self, model: keras.Model, phase: int, epoch: int) -> None:
        """Write the model of an epoch."""
        self.save(model, self.run.checkpoint(phase, epoch))

    def epoch_ended(self, rows: list[dict[str, Any]]) -> None:
        """Write ``history.csv``."""
        self.run.write_history(rows)
        self.loggers.log(rows)

    def save(self, model: keras.Model, path: Path, golden: bool = False) -> None:
        """Write a model file with everything that prediction needs; ``golden``: with images to verify it on load."""
        images = build.golden_images(model.input_shape[1:]) if golden else None
        novelty = {NOVELTY: self.novelty} if self.novelty else {}
        bundle.save(model, path, build.metadata_of(self.config, self.data, self.thresholds) | novelty, images)

    def _keep(self) -> None:
        self.manifest["config"] = self.config.model_dump(mode="json")
        self.manifest["chosen"] = decisions_as_json(self.config.decisions)
        self.run.change(self.config, self.data.split_table(), self.manifest, self.data.content)


class FollowingEvents(RunEvents):
    """Events of a process that trains with others, one of which writes: nothing is written."""

    def __init__(self, run: RunDirectory, config: ResolvedConfig, data: Dataset):
        self.run, self.config, self.data = run, config, data
        self.changed = self.wants_every_epoch = False

    def improved(self, model: keras.Model) -> None:
        """Do nothing."""

    def epoch_ended(self, rows: list[dict[str, Any]]) -> None:
        """Do nothing."""

    def save(self, model: keras.Model, path: Path, golden: bool = False) -> None:
        """Do nothing."""

    def _keep(self) -> None:
        """Do nothing."""
