"""What a training consists of: the model, its batches and how the phases train. No files and no YAML.

The command builds a :class:`TrainingSetup` from a resolved configuration (:mod:`keras_transfer.training.build`), the Python interface
from the arguments of ``Classifier.fit``; training and the learning-rate range test both start from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import keras
import numpy as np

from keras_transfer.config.resolved import ResolvedPhase
from keras_transfer.config.schema import CallbacksConfig
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.distribute import ALONE, Group
from keras_transfer.engine.features import FeatureSettings
from keras_transfer.errors import UserError
from keras_transfer.models.adapters import attach, merge
from keras_transfer.models.any_size import any_size
from keras_transfer.models.freeze import TrainableCounts, apply_train
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.training.group_rates import variable_factors


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        backbone: name of the model's backbone.
        phases: what is trained, in order; each phase starts from the best weights so far.
        callbacks: monitor, ReduceLROnPlateau and EarlyStopping.
        label_smoothing: of the training loss and of ``val_loss``.
        loss: one of Keras's by name, or a Keras loss; None: cross-entropy. It chooses the best epoch too, as ``val_loss``.
        metrics: further Keras metrics, by name or as objects.
        several: whether an image may have several labels: each is predicted on its own, by sigmoid and binary cross-entropy.
        class_weights: with several labels, the weight of each where an image has it, float32 (C,); None: 1. With one label, class
            weights are sample weights of the batches.
        weighted: whether batches carry sample weights, which then also weight the metrics.
        accumulate: micro-batches that every step is computed in, to save memory.
        native: whether layers run by the operations of `engine.native`; same results, faster.
        features: how features of frozen layers are computed and cached; by default in memory, in float32.
        rejects: whether novelty is to be calibrated, for which folds compute what images held out of them are like.
        group: the processes that train together; batches are divided among them.
    """

    backbone: str
    phases: tuple[ResolvedPhase, ...]
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    label_smoothing: float = 0.0
    loss: Any = None
    metrics: tuple[Any, ...] = ()
    several: bool = False
    class_weights: np.ndarray | None = None
    weighted: bool = False
    accumulate: int = 1
    native: bool = True
    features: FeatureSettings = field(default_factory=FeatureSettings)
    rejects: bool = False
    group: Group = ALONE


@dataclass
class TrainingSetup:
    """Everything that training needs; as a context manager, it stops the worker threads at the end.

    Attributes:
        model: a classifier built by :func:`keras_transfer.models.classifier.build_classifier`; outputs logits.
        train: training batches (uint8 images, one-hot labels).
        val: validation batches; the metric that they give chooses the best epoch.
        settings: how the phases train.
        unlabelled: images without labels, in order, that a solved head may learn from too; None: there are none.
    """

    model: keras.Model
    train: Batches
    val: Batches
    settings: TrainingSettings
    unlabelled: Loader | None = None

    def __enter__(self) -> TrainingSetup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker threads."""
        self.train.loader.close()
        self.val.loader.close()
        if self.unlabelled is not None:
            self.unlabelled.close()

    def release(self) -> None:
        """Drop model and batches, so that a reference to the setup does not keep them in memory."""
        del self.model, self.train, self.val


@dataclass(frozen=True)
class PhaseStart:
    """A phase about to train.

    Attributes:
        counts: parameters that train, and those that are frozen.
        images: training batches, augmented if the phase augments, of the phase's image size.
        model: what trains on them: the setup's model, or its layers for images of any size.
        factors: of the learning rate, by ``id(variable)``.
    """

    counts: TrainableCounts
    images: Batches
    model: keras.Model
    factors: Mapping[int, float]


def check_exact(phase: ResolvedPhase, counts: TrainableCounts) -> None:
    """Refuse to solve a phase that trains more than the last layer.

    Raises:
        UserError: it does.
    """
    if phase.solver == "exact" and counts.layers != (LOGITS,):
        more = [name for name in counts.layers if name != LOGITS]
        shown = ", ".join(more[:3]) + (f" and {len(more) - 3} more" if len(more) > 3 else "")
        raise UserError(
            f"phase {phase.name}: solver exact solves the last layer only, but train: {phase.train} also trains {shown}"
        )


@contextmanager
def begin_phase(setup: TrainingSetup, phase: ResolvedPhase) -> Iterator[PhaseStart]:
    """Set what of the model trains in the phase, and open its training images inside the block. Adapters are merged at its end.

    Raises:
        UserError: a ``train`` pattern that matches no layer, more groups than there are; ``solver: exact`` for more than the last layer;
            ``lora`` where there is nothing to adapt;
            an image size that the network cannot compute.
    """
    backbone = setup.settings.backbone
    counts = apply_train(setup.model, backbone, phase.train, batch_norm=phase.batch_norm)
    check_exact(phase, counts)
    if phase.lora is not None:
        counts = attach(setup.model, phase.lora, phase.name)
    factors = variable_factors(setup.model, backbone, phase.group_decay)
    own = setup.train.loader
    loader = own if phase.augment else own.plain()
    size, model = own.transform.image_size, setup.model
    if phase.image_size is not None and (wanted := _pair(phase.image_size)) != size:
        loader, model = loader.at_size(wanted), any_size(model, wanted)
    try:
        yield PhaseStart(counts, setup.train if loader is own else Batches(loader), model, factors)
    finally:
        merge(setup.model)
        if loader is not own:
            loader.close()


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
