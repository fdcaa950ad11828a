"""Read ``.safetensors`` files (https://huggingface.co/docs/safetensors), which hold no code, by the library of that name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy the dtype "bfloat16"
import numpy as np
from safetensors import SafetensorError, safe_open

from keras_transfer.errors import UserError

MAX_HEADER = 8 << 20  # bytes, a hundred times the header of a large image model; the library allows 100 MB


class SafeFile:
    """An open ``.safetensors`` file, whose tensors are read one by one.

    Args:
        path: of the file.

    Raises:
        UserError: the file is missing, damaged or not of this format.
    """

    def __init__(self, path: Path):
        self.path = path
        with _explained(path):
            with path.open("rb") as file:
                start = file.read(8)
            if len(start) < 8:
                raise ValueError(f"it has {len(start)} bytes")
            (length,) = struct.unpack("<Q", start)
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            self._file = safe_open(path, "numpy")

    def names(self) -> list[str]:
        """Return the names of the tensors."""
        return list(self._file.keys())

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._file.get_slice(key).get_shape())

    def dtype(self, key: str) -> str:
        """Return the type of a tensor as the format calls it, such as ``"F32"``."""
        return str(self._file.get_slice(key).get_dtype())

    def read(self, key: str) -> np.ndarray:
        """Return a tensor; bfloat16 becomes float32.

        Raises:
            UserError: its type does not exist in NumPy.
        """
        with _explained(self.path):
            array = self._file.get_tensor(key)
            return array.astype(np.float32) if array.dtype == "bfloat16" else array


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return name → array; bfloat16 becomes float32.

    Raises:
        UserError: the file is missing, damaged or not of this format, or has a dtype that NumPy does not have.
    """
    file = SafeFile(Path(path))
    return {key: file.read(key) for key in file.names()}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {str(path)!r} does not exist") from error
    except (AttributeError, TypeError) as error:  # the library looks for the dtype in NumPy
        raise UserError(f"cannot read {str(path)!r} as safetensors: {' '.join(str(error).split())[:200]}") from error
    except (OSError, ValueError, struct.error, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot read {str(path)!r} as safetensors: {reason}") from error
