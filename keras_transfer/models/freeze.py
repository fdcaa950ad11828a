"""Choose what trains: with :mod:`.adapters`, the only module of the package that sets ``trainable``.

Each change takes effect when the model is compiled next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, get_args

from keras_transfer.errors import UserError, nearest, unknown
from keras_transfer.keras_compat import all_layers, set_trainable
from keras_transfer.models.graph import flat_layers
from keras_transfer.models.groups import layer_groups
from keras_transfer.models.layer_names import backbone_layers, head_layers
from keras_transfer.options import BatchNorm, last_groups

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainableCounts:
    """What a phase trains.

    Attributes:
        frozen: number of parameters that do not train, including BatchNorm statistics.
        trainable: number of parameters that train.
        layers: names of the layers with parameters that train, in graph order.
    """

    frozen: int
    trainable: int
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.trainable:,} parameters train in {len(self.layers)} layers, {self.frozen:,} are frozen"


def apply_train(
    model: keras.Model, backbone_name: str, train: str | Sequence[str], batch_norm: str = "train"
) -> TrainableCounts:
    """Set ``trainable`` on every layer.

    A frozen BatchNorm layer uses its stored statistics and does not update them, during training too.

    Args:
        model: a classifier.
        backbone_name: name of its backbone.
        train: ``"head"``; ``"all"``; ``"last N groups"`` (layer groups of the backbone, and the head); or one or more
            shell patterns for layer names, such as ``["block_1[3-6]_*"]`` (and the head).
        batch_norm: ``"train"``: BatchNorm layers train where the layers around them do; ``"frozen"``: the backbone's
            BatchNorm layers are always frozen.

    Raises:
        UserError: a pattern that matches no layer, more groups than there are, an unknown ``batch_norm``.
    """
    if batch_norm not in get_args(BatchNorm):
        raise unknown("batch_norm", batch_norm, get_args(BatchNorm))
    chosen = {id(layer) for layer in _chosen(model, backbone_name, train)}
    head = {id(layer) for layer in head_layers(model)}
    unfreeze(model)  # for the flag of the model itself
    for layer in model.layers:
        set_trainable(layer, id(layer) in chosen or id(layer) in head)
    if batch_norm == "frozen":
        freeze_batch_norm(model)
    return count(model)


def unfreeze(model: keras.Model) -> None:
    """Let a model and all its layers train; setting it on the model alone does not reach the layers on every backend."""
    for layer in all_layers(model):
        set_trainable(layer, True)


def freeze_batch_norm(model: keras.Model) -> None:
    """Freeze every BatchNorm layer of a model, those of nested models included."""
    import keras

    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            set_trainable(layer, False)


@contextmanager
def kept_flags(model: keras.Model) -> Iterator[None]:
    """Restore ``trainable`` of a model, all its layers and their weights after the block."""
    before = [(layer, layer.trainable) for layer in all_layers(model)]
    training = {id(weight) for weight in model.trainable_weights}
    try:
        yield
    finally:
        for layer, flag in before:  # parents come before their children, whose flags they set
            set_trainable(layer, flag)
        for weight in model.trainable_weights:  # not the kernels that have adapters
            weight.trainable = id(weight) in training


def _chosen(model: keras.Model, backbone_name: str, train: str | Sequence[str]) -> list[keras.layers.Layer]:
    if train == "head":
        return []
    if train == "all":
        return backbone_layers(model)
    if isinstance(train, str) and (number := last_groups(train)) is not None:
        return _last_groups(model, backbone_name, number)
    return _matching(model, [train] if isinstance(train, str) else list(train))


def _last_groups(model: keras.Model, backbone_name: str, number: int) -> list[keras.layers.Layer]:
    groups = layer_groups(model, backbone_name)
    if not 1 <= number <= len(groups):
        names = ", ".join(name for name, _ in groups)
        raise UserError(
            f"train 'last {number} groups': {backbone_name} has {len(groups)} layer groups ({names}), expected 1 to"
            f" {len(groups)}"
        )
    return [layer for _, layers in groups[-number:] for layer in layers]


def _matching(model: keras.Model, patterns: Sequence[str]) -> list[keras.layers.Layer]:
    layers = [*backbone_layers(model), *head_layers(model)]
    found: list[keras.layers.Layer] = []
    for pattern in patterns:
        matched = [layer for layer in layers if fnmatchcase(layer.name, pattern)]
        if not matched:
            hint = nearest(pattern, ["head", "all", "last 1 groups", *(layer.name for layer in layers)])
            raise UserError(
                f"train: no layer matches {pattern!r}{hint} (expected: head, all, last N groups, or patterns for layer"
                " names)"
            )
        found += matched
    return found


def count(model: keras.Model) -> TrainableCounts:
    """Count the parameters that train and those that do not."""
    trains = sum(math.prod(v.shape) for v in model.trainable_weights)
    total = sum(math.prod(v.shape) for v in model.weights)
    names = tuple(layer.name for layer in flat_layers(model) if layer.trainable_weights)
    return TrainableCounts(frozen=total - trains, trainable=trains, layers=names)
