"""Reading ``.safetensors`` files: a JSON header with names, dtypes, shapes and places, then the numbers.

Format: https://huggingface.co/docs/safetensors. Nothing in it can be executed; what is checked is that no tensor lies
outside the file, and that they do not overlap, which could make a small file fill the memory.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.errors import UserError

MAX_HEADER = 8 << 20  # bytes; that of a large image model has a hundredth of it
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return name → array; bfloat16 becomes float32.

    Raises:
        UserError: the file is missing, damaged or not of this format.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
            numbers = file.read()
        _check_total(header, len(numbers))
        return {name: _array(entry, numbers) for name, entry in header.items() if name != "__metadata__"}
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {str(path)!r} does not exist") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read {str(path)!r} as safetensors: {reason}") from error


def _check_total(header: dict[str, Any], held: int) -> None:
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    claimed = sum(int(end) - int(begin) for begin, end in spans)
    if claimed > held:
        raise ValueError(f"its tensors claim {claimed} bytes, but it holds {held}: they overlap, or it is cut short")


def _array(entry: dict[str, Any], numbers: bytes) -> np.ndarray:
    shape = tuple(int(n) for n in entry["shape"])
    begin, end = (int(n) for n in entry["data_offsets"])
    half = entry["dtype"] == "BF16"
    dtype = np.dtype("<u2" if half else _DTYPES[entry["dtype"]])
    if (
        min((0, *shape)) < 0
        or not 0 <= begin <= end <= len(numbers)
        or end - begin != math.prod(shape) * dtype.itemsize
    ):
        raise ValueError("a tensor that does not fit into the file")
    array = np.frombuffer(numbers, dtype, math.prod(shape), begin).reshape(shape)
    if half:  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.copy()
