"""Read a PyTorch state dict without PyTorch.

A checkpoint is a pickle, and a pickle can call anything. This unpickler allows only ordered dictionaries and the few functions
by which PyTorch describes a tensor, and refuses every other name. No tensor may be larger than its storage, and all of them
together not much larger than the file. Both formats are supported: the zip archive (PyTorch 1.6 and later) and the older
sequence of pickles.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ml_dtypes  # noqa: F401 - gives NumPy the dtype "bfloat16"
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.safety import Refused
from keras_transfer.safety.archive import check_members
from keras_transfer.safety.pickles import check_pickle

MAX_BYTES = 1 << 36
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    numel: int


@dataclass(frozen=True)
class _Tensor:
    """The description of a tensor in the pickle; its values are elsewhere in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint.

    Args:
        path: file that ``torch.save(model.state_dict(), path)`` wrote, or a dictionary with the state dict under
            ``"state_dict"``. Entries that are not tensors are ignored.

    Returns:
        name → array in PyTorch's axis order; bfloat16 becomes float32, other types stay.

    Raises:
        Refused: the file refers to anything but tensors, or claims more data than it holds.
        UserError: the file is missing, damaged or not such a checkpoint.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            found, numbers = _read_zip(file, path) if zipfile.is_zipfile(file) else _read_legacy(file, path)
        state = found.get("state_dict", found) if isinstance(found, dict) else found
        if not isinstance(state, dict):
            raise UserError(f"{str(path)!r} holds a {type(state).__name__}, expected a PyTorch state dict")
        tensors = {str(k): v for k, v in state.items() if isinstance(v, _Tensor)}
        wanted = sum(math.prod(tensor.shape) * np.dtype(tensor.storage.dtype).itemsize for tensor in tensors.values())
        if wanted > 4 * path.stat().st_size:
            raise Refused(path, f"its tensors claim {wanted} bytes, many times the size of the file")
        return {name: _array(tensor, numbers(tensor.storage)) for name, tensor in tensors.items()}
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {str(path)!r} does not exist") from error
    except UserError:
        raise
    except _Unknown as error:
        raise Refused(path, str(error)) from error
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot read {str(path)!r} as a PyTorch checkpoint: {reason}") from error


class _Unknown(pickle.UnpicklingError):
    """The pickle names something that no tensor needs."""


class _Unpickler(pickle.Unpickler):
    """Builds plain containers, :class:`_Storage` and :class:`_Tensor`, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch._utils":
            rebuild: dict[str, Callable[..., Any]] = {
                "_rebuild_tensor_v2": _rebuild_tensor,
                "_rebuild_parameter": lambda data, *_: data,
            }
            if name in rebuild:
                return rebuild[name]
        raise _Unknown(f"its pickle asks for {module}.{name}, but only tensors are allowed")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, numel = pid[:5]
        if kind != "storage" or dtype not in _DTYPES.values() or (len(pid) > 5 and pid[5] is not None):
            raise pickle.UnpicklingError(f"unexpected reference {kind!r}")
        return _Storage(dtype, str(key), int(numel))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


Numbers = Callable[[_Storage], np.ndarray]


def _load(unpickler: type[_Unpickler], file: IO[bytes], path: Path) -> Any:
    start = file.tell()
    check_pickle(file, path)
    file.seek(start)
    return unpickler(file).load()


def _read_zip(file: IO[bytes], path: Path) -> tuple[Any, Numbers]:
    with zipfile.ZipFile(file) as archive:
        check_members(archive, path, MAX_BYTES)
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    pickles = [name for name in members if name.endswith("data.pkl")]
    if not pickles:
        raise UserError("a zip archive without data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise UserError("big-endian checkpoints are not supported")
    found = _load(_Unpickler, io.BytesIO(members[pickles[0]]), path)
    return found, lambda storage: _numbers(members[f"{folder}data/{storage.key}"], storage)


def _read_legacy(source: IO[bytes], path: Path) -> tuple[Any, Numbers]:
    """Read magic number, protocol, machine properties, the object and the keys of storages; then their values."""
    source.seek(0)
    file = io.BytesIO(source.read())  # reading a file would allocate as many bytes as a pickle claims
    if _load(_Unpickler, file, path) != _LEGACY_MAGIC:
        raise UserError("no PyTorch magic number")
    _load(_Unpickler, file, path)
    facts = _load(_Unpickler, file, path)
    if not facts.get("little_endian", True):
        raise UserError("big-endian checkpoints are not supported")
    storages: dict[str, _Storage] = {}

    class Recorder(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            storage = super().persistent_load(pid)
            storages[storage.key] = storage
            return storage

    found = _load(Recorder, file, path)
    raw = {}
    for key in _load(_Unpickler, file, path):
        storage = storages[str(key)]
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel or numel < 0:
            raise ValueError(f"storage {key} has {numel} numbers, expected {storage.numel}")
        raw[str(key)] = file.read(numel * np.dtype(storage.dtype).itemsize)
    return found, lambda storage: _numbers(raw[storage.key], storage)


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
    values = np.frombuffer(data, storage.dtype)
    if values.size != storage.numel:
        raise ValueError(f"storage {storage.key} is truncated")
    return values.astype(np.float32) if storage.dtype == "bfloat16" else values


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Copy a tensor out of its storage."""
    if min((*tensor.shape, *tensor.stride, tensor.offset, 0)) < 0 or len(tensor.shape) != len(tensor.stride):
        raise ValueError("a tensor with impossible strides")
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride))
    if math.prod(tensor.shape) and last >= numbers.size:
        raise ValueError("a tensor beyond the end of its storage")
    if math.prod(tensor.shape) > numbers.size:
        raise ValueError("a tensor with more numbers than its storage")
    steps = tuple(s * numbers.itemsize for s in tensor.stride)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps)
    return view.astype(view.dtype.newbyteorder("="), copy=True) if sys.byteorder == "big" else view.copy()
