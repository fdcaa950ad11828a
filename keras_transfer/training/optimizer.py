"""A phase's optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from keras_transfer.config.keras_objects import made
from keras_transfer.config.schema import Phase
from keras_transfer.keras_compat import build_on_first_device
from keras_transfer.training.group_rates import scale_updates
from keras_transfer.training.objectives import accuracy, own_metrics, training_loss
from keras_transfer.training.setup import TrainingSettings


@keras.saving.register_keras_serializable("keras_transfer")
class PhaseSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate over one phase, with linear warm-up.

    Args:
        kind: ``constant``; ``cosine`` (SGDR without restarts, Loshchilov & Hutter 2017); ``one_cycle``
            (Smith & Topin 2018: cosine up over 30 % of the steps, cosine down to a ten-thousandth).
        peak: highest learning rate.
        steps: training steps of the phase.
        warmup_steps: steps of linear rise from 0 (``one_cycle`` has its own rise and ignores it).
    """

    def __init__(self, kind: str, peak: float, steps: int, warmup_steps: int = 0):
        self.kind, self.peak, self.steps, self.warmup_steps = kind, float(peak), int(steps), int(warmup_steps)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at ``step`` (a scalar tensor)."""
        ops = keras.ops
        step = ops.cast(step, "float32")
        if self.kind == "one_cycle":
            rise = max(1.0, 0.3 * self.steps)
            up = self._cosine(step / rise, self.peak / 25, self.peak)
            down = self._cosine((step - rise) / max(1.0, self.steps - rise), self.peak, self.peak / 1e4)
            return ops.where(step < rise, up, down)
        rate = ops.full_like(step, self.peak)
        if self.kind == "cosine":
            rate = self._cosine((step - self.warmup_steps) / max(1, self.steps - self.warmup_steps), self.peak, 0.0)
        if self.warmup_steps:
            rate = ops.where(step < self.warmup_steps, self.peak * (step + 1) / self.warmup_steps, rate)
        return rate

    @staticmethod
    def _cosine(progress: Any, start: float, end: float) -> Any:
        progress = keras.ops.clip(progress, 0.0, 1.0)
        return end + (start - end) * 0.5 * (1.0 + keras.ops.cos(math.pi * progress))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"kind": self.kind, "peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps}


def compile_phase(
    model: keras.Model,
    phase: Phase,
    steps: int,
    settings: TrainingSettings,
    rate: Any = None,
    factors: Mapping[int, float] | None = None,
) -> None:
    """Compile ``model`` for a phase: fresh optimizer, loss and metrics on logits; by default cross-entropy and accuracy.

    Args:
        model: what is trained.
        phase: says how; its learning rate is a number.
        steps: of an epoch.
        settings: loss, metrics, label smoothing, and whether batches carry sample weights.
        rate: a learning rate or schedule in place of the phase's.
        factors: of the rate, by ``id(variable)``.
    """
    metrics = [accuracy(settings.several), *own_metrics(settings.metrics, settings.several)]
    model.compile(
        optimizer=make_optimizer(phase, steps, model, rate),
        loss=training_loss(settings.loss, settings.label_smoothing, settings.several, settings.class_weights),
        metrics=None if settings.weighted else metrics,
        weighted_metrics=metrics if settings.weighted else None,
        jit_compile=_compiles(settings),
    )
    scale_updates(model.optimizer, factors or {})
    if keras.backend.backend() == "tensorflow" and settings.group.divides:
        build_on_first_device(model)


def _compiles(settings: TrainingSettings) -> bool | str:
    """Say whether Keras compiles steps. On torch, that is slower; tensorflow's compiler does not divide a batch; elsewhere Keras chooses."""
    backend = keras.backend.backend()
    return False if backend == "torch" or (backend == "tensorflow" and settings.group.divides) else "auto"


def make_optimizer(
    phase: Phase, steps_per_epoch: int, model: keras.Model, rate: Any = None
) -> keras.optimizers.Optimizer:
    """Build a fresh optimizer for ``phase``; biases and normalization weights are spared from weight decay.

    A Keras optimizer that was given as an object is as it was given, except for what the phase sets itself.
    """
    rate = _schedule(phase, steps_per_epoch) if rate is None else rate
    common = {"learning_rate": rate, "weight_decay": phase.weight_decay or None, "global_clipnorm": phase.clip_norm}
    if isinstance(phase.optimizer, dict):
        return _own_optimizer(phase, rate)
    if phase.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=phase.momentum, nesterov=phase.nesterov, **common)
    elif phase.optimizer not in ("adam", "adamw"):
        optimizer = keras.optimizers.get({"class_name": phase.optimizer, "config": common})
    elif phase.optimizer == "adam" or not phase.weight_decay:
        optimizer = keras.optimizers.Adam(**common)  # AdamW without decay, less a multiplication of all weights by 1
    else:
        optimizer = keras.optimizers.AdamW(**common)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) <= 1])
    return optimizer


def _own_optimizer(phase: Phase, rate: Any) -> keras.optimizers.Optimizer:
    optimizer = made(phase.optimizer)
    changes = {"learning_rate": rate if isinstance(rate, float) else keras.saving.serialize_keras_object(rate)}
    if phase.weight_decay:
        changes["weight_decay"] = phase.weight_decay
    if phase.clip_norm:
        changes |= {"global_clipnorm": phase.clip_norm, "clipnorm": None, "clipvalue": None}
    return type(optimizer).from_config({**optimizer.get_config(), **changes})


def _schedule(phase: Phase, steps_per_epoch: int) -> Any:
    """Return the phase's learning rate: a number, or a schedule over its steps."""
    if isinstance(phase.schedule, dict):
        return made(phase.schedule)
    warmup = round(phase.warmup_epochs * steps_per_epoch)
    if phase.schedule in ("cosine", "one_cycle") or warmup:
        kind = "constant" if phase.schedule == "plateau" else phase.schedule
        return PhaseSchedule(kind, phase.rate, phase.epochs * steps_per_epoch, warmup)
    return phase.rate
