"""What phases need of the data and of each other."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.arguments.costs import cost_matrix, ranks_of
from keras_transfer.config.resolved import ResolvedPhase
from keras_transfer.config.schema import CallbacksConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import MissingExtra, UserError


def check_packages(callbacks: CallbacksConfig) -> None:
    """Refuse callbacks that would fail in the first epoch, before anything is computed.

    Raises:
        MissingExtra: a package is not installed.
    """
    if not callbacks.tensorboard:
        return
    # Keras's callback writes with TensorFlow on every backend, and TensorFlow does so with tensorboard, which it no longer brings.
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "tensorboard", "callbacks.tensorboard")


def check_phases(phases: Sequence[ResolvedPhase], validation_images: int) -> None:
    """Refuse phases that nothing could judge.

    Without validation images, a phase is judged by predictions for training images that it was not given. Nothing is left to judge with
    once all of them have been trained on: a phase with folds comes last, after one that solves the head.

    Args:
        phases: of the run, in order.
        validation_images: number of validation images.

    Raises:
        UserError: there are none, and a phase needs them.
    """
    if validation_images:
        return
    for number, phase in enumerate(phases):
        if phase.solver == "gradient" and not phase.folds:
            raise UserError(f"phase {phase.name} needs validation images: set data.val_fraction above 0, or folds")
        before = phases[number - 1] if number else None
        if phase.folds and (before is None or before.solver != "exact"):
            raise UserError(
                f"phase {phase.name}: without validation images, folds needs a phase with solver: exact just before it"
            )
        if before is not None and before.folds:
            raise UserError(
                f"phase {phase.name} needs validation images, because phase {before.name} has trained on all others: "
                "set data.val_fraction above 0"
            )


def check_unlabelled(folder: str | None, phases: Sequence[ResolvedPhase]) -> None:
    """Refuse images without labels where no head is solved, which alone learns from them.

    Raises:
        UserError: there are some, but every phase trains by gradient descent.
    """
    if folder is not None and all(phase.solver == "gradient" for phase in phases):
        raise UserError(
            "data.unlabelled: a head learns from images without labels where it is solved, but every phase here trains by gradient descent; "
            "add a phase with solver: exact, or leave it out"
        )


def one_class_only(data: Dataset, settings: Mapping[str, Any]) -> None:
    """Refuse settings that decide between classes, where an image may have several labels.

    Raises:
        UserError: one of them is set.
    """
    for name, value in settings.items():
        if value is not None and data.is_multi:
            raise UserError(
                f"{name} decides between classes; these images may have several labels, each of which is decided on its own"
            )


def check_decisions(costs: Any, ordinal: Sequence[str] | None, classes: Sequence[str]) -> None:
    """Refuse costs of classes that there are not, and an order that leaves some out.

    Raises:
        UserError: there are such.
    """
    if costs is not None:
        cost_matrix(costs, classes)
    if ordinal is not None:
        ranks_of(ordinal, classes)
