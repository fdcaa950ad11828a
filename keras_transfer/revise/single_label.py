"""Suggestions are of models that give an image one class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError
from keras_transfer.evaluation.tasks import is_multi
from keras_transfer.inference import start
from keras_transfer.runs import RunDirectory

if TYPE_CHECKING:
    import keras


def start_single(
    source: str | Path, backend: str | None = None, device: str | None = None
) -> tuple[keras.Model, dict[str, Any], RunDirectory | None]:
    """Load a model as :func:`keras_transfer.inference.start` does.

    Raises:
        UserError: it gives an image several labels.
    """
    found = start(source, backend, device)
    if is_multi(found[1]):
        raise UserError(f"{source} gives an image several labels: suggestions are for one class per image")
    return found
