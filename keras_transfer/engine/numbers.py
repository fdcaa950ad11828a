"""The numbers that features are kept in: float32, or bfloat16 as the upper halves of float32."""

from __future__ import annotations

from typing import Any

import numpy as np

STORED: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
"""Precision → dtype of the array that is kept (NumPy has no bfloat16 of its own)."""

_QUIET_NAN = 0x7FC0


def pack(values: np.ndarray, precision: str) -> np.ndarray:
    """Return float32 ``values`` as they are kept; bfloat16 is rounded to the nearest, ties to even."""
    values = np.ascontiguousarray(values, np.float32)
    if precision == "float32":
        return values
    bits = values.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(_QUIET_NAN), rounded)


def unpack(stored: np.ndarray) -> np.ndarray:
    """Return what :func:`pack` made as float32."""
    if stored.dtype == STORED["float32"]:
        return np.asarray(stored)
    return (stored.astype(np.uint32) << 16).view(np.float32)
