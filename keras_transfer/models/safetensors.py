"""Read ``.safetensors`` files (https://huggingface.co/docs/safetensors), which hold no code."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy the dtype "bfloat16"
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from keras_transfer.errors import UserError

MAX_HEADER = 8 << 20  # bytes, a hundred times the header of a large image model; the library allows 100 MB


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return name → array; bfloat16 becomes float32.

    Raises:
        UserError: the file is missing, damaged or not of this format, or has a dtype that NumPy does not have.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length} bytes")
        found = load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {str(path)!r} does not exist") from error
    except AttributeError as error:  # the library looks for the dtype in NumPy
        raise UserError(f"cannot read {str(path)!r} as safetensors: NumPy has no dtype {error.name!r}") from error
    except (OSError, ValueError, struct.error, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read {str(path)!r} as safetensors: {reason}") from error
    return {name: array.astype(np.float32) if array.dtype == "bfloat16" else array for name, array in found.items()}
