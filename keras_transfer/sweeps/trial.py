"""One trial: a training without a run directory, in this process, measured on validation images or out of fold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keras_transfer.config.open_data import evaluation_transform, open_data
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.config.schema import DatasetConfig, RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import predict_logits
from keras_transfer.evaluation.judged import OUT_OF_FOLD
from keras_transfer.models.precision import set_precision
from keras_transfer.training import build
from keras_transfer.training.events import TrainingEvents
from keras_transfer.training.fit_result import FitResult
from keras_transfer.training.phase_runner import PhaseRunner
from keras_transfer.training.prepare import prepare
from keras_transfer.training.setup import TrainingSetup

OnEpoch = Callable[[dict[str, Any], int], None]
"""Gets the row of an epoch and its number over all phases, from 1; may raise to end the trial."""


@dataclass
class SharedData:
    """Opens data sets, and keeps the last ones for the trials that follow."""

    most: int = 2
    _kept: dict[str, Dataset] = field(default_factory=dict)

    def __call__(self, config: RunConfig) -> Dataset:
        """Return the data of a configuration."""
        keys = config.data.model_dump(mode="json", include=set(DatasetConfig.model_fields))
        key = json.dumps([keys, config.val_fraction, config.seed], sort_keys=True, default=str)
        data = self._kept.pop(key, None) or open_data(config)
        self._kept[key] = data  # the last one used is the last to go
        while len(self._kept) > self.most:
            del self._kept[next(iter(self._kept))]
        return data


@dataclass(frozen=True)
class Outcome:
    """What a trial found.

    Attributes:
        metrics: of the best epoch, on validation images or out of fold (:func:`~keras_transfer.evaluation.evaluate.metrics_of`).
        measured_on: what the figures were measured on.
        epochs: trained, over all phases.
        best: phase and epoch of the best model.
        seconds: of the trial.
    """

    metrics: dict[str, Any]
    measured_on: str
    epochs: int
    best: dict[str, Any]
    seconds: float


class _Epochs(TrainingEvents):
    """Passes the row of every epoch on."""

    def __init__(self, on_epoch: OnEpoch):
        self._on_epoch = on_epoch

    def epoch_ended(self, rows: list[dict[str, Any]]) -> None:
        self._on_epoch(rows[-1], len(rows))


def train_trial(
    config: RunConfig, backend: str | None, device: str | None, opened: SharedData, on_epoch: OnEpoch
) -> Outcome:
    """Train a configuration as ``train`` does, without a run directory, and measure its best model; the test images are not looked at.

    Args:
        config: the configuration.
        backend: see :func:`~keras_transfer.training.prepare.prepare`.
        device: see there.
        opened: opens its data.
        on_epoch: see ``OnEpoch``.

    Raises:
        UserError: settings that cannot be trained, memory that is not enough.
    """
    from keras_transfer.training.faults import is_out_of_memory, out_of_memory

    began = time.perf_counter()
    prepared = prepare(config, backend=backend, device=device, say=_quiet, opened=opened)
    images = prepared.config.data
    try:
        with build.make_setup(prepared.config, prepared.data, group=prepared.group) as setup:
            runner = PhaseRunner(setup, events=_Epochs(on_epoch), say=_quiet, verbose=False)
            result = runner.run()
            metrics, measured_on = _measured(setup, result, prepared.config, prepared.data)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(images.batch_size, images.micro_batch_size, images.size) from error
        raise
    finally:
        prepared.group.close()
    seconds = round(time.perf_counter() - began, 3)
    return Outcome(metrics, measured_on, len(result.history), dict(result.best), seconds)


def _measured(
    setup: TrainingSetup, result: FitResult, config: ResolvedConfig, data: Dataset
) -> tuple[dict[str, Any], str]:
    if not len(data.val):
        if result.out_of_fold is None:
            raise UserError(
                "there are neither validation images nor out-of-fold predictions: set data.val_fraction above 0"
            )
        thresholds = build.thresholds_of(result.out_of_fold, data.train)
        found = build.measure({OUT_OF_FOLD: result.out_of_fold}, data, thresholds)
        return found[OUT_OF_FOLD], f"{len(data.train)} training images, out of fold"
    set_precision(setup.model, "float32")
    images = config.data
    logits = predict_logits(
        setup.model, data.val, evaluation_transform(images), images.micro_batch_size, images.workers
    )
    thresholds = build.thresholds_of(logits, data.val)
    return build.measure({"val": logits}, data, thresholds)["val"], f"{len(data.val)} validation images"


def _quiet(line: object = "") -> None:
    """Print nothing."""
