"""Storage format of features: float32, or bfloat16 as its bits (``.npy`` files have no bfloat16)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

STORED: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
"""Precision → dtype of the stored array."""


def pack(values: np.ndarray, precision: str) -> np.ndarray:
    """Return float32 ``values`` in the storage format; bfloat16 is rounded to nearest, ties to even."""
    values = np.ascontiguousarray(values, np.float32)
    if precision == "float32":
        return values
    with np.errstate(invalid="ignore"):  # NaN stays NaN
        return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def unpack(stored: np.ndarray) -> np.ndarray:
    """Return what :func:`pack` made as float32."""
    if stored.dtype == STORED["float32"]:
        return np.asarray(stored)
    return stored.view(ml_dtypes.bfloat16).astype(np.float32)
