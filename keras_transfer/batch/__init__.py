"""Predictions and features of very many images: Parquet in parts, on one machine or on a Ray cluster. Imports neither Ray nor a framework."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.batch.commands import embed_parts, evaluate_parts, predict_parts

__all__ = ["embed_parts", "evaluate_parts", "predict_parts"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.commands"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
