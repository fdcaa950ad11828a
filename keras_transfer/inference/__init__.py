"""Use a finished run or a model file: find and load the model, open its data, evaluate and predict.

Names are imported on first use, so that a prediction waits for nothing that it does not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.inference.commands import evaluate, predict
    from keras_transfer.inference.data import data_of, images_of
    from keras_transfer.inference.model import engine_of, find_model, start, start_backend, start_engine, transform_of
    from keras_transfer.inference.opening import evaluation_split, training_data

__all__ = [
    "data_of",
    "engine_of",
    "evaluate",
    "evaluation_split",
    "find_model",
    "images_of",
    "predict",
    "start",
    "start_backend",
    "start_engine",
    "training_data",
    "transform_of",
]

_MODULES = {
    "commands": ("evaluate", "predict"),
    "data": ("data_of", "images_of"),
    "model": ("engine_of", "find_model", "start", "start_backend", "start_engine", "transform_of"),
    "opening": ("evaluation_split", "training_data"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
