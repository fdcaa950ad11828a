"""Reading a PyTorch state dict without PyTorch.

A checkpoint is a pickle, and a pickle can call anything. This reader calls nothing: the unpickler knows only
ordered dictionaries and the few functions by which PyTorch describes a tensor, and refuses every other name.
Both formats are read: the zip archive (PyTorch 1.6 and later) and the older sequence of pickles.
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

import numpy as np

from keras_transfer.errors import UserError

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
    """What a pickled tensor says of itself; the numbers follow elsewhere in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint.

    Args:
        path: file that ``torch.save(model.state_dict(), path)`` wrote; a dictionary with the state under
            ``"state_dict"`` does too. Entries that are no tensors are left out.

    Returns:
        name → array in PyTorch's axis order; bfloat16 becomes float32, other types stay.

    Raises:
        UserError: the file is missing, damaged, not such a checkpoint, or asks for anything but tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            found, numbers = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        state = found.get("state_dict", found) if isinstance(found, dict) else found
        if not isinstance(state, dict):
            raise UserError(f"{str(path)!r} holds a {type(state).__name__}, expected a PyTorch state dict")
        return {str(k): _array(v, numbers(v.storage)) for k, v in state.items() if isinstance(v, _Tensor)}
    except FileNotFoundError as error:
        raise UserError(f"checkpoint {str(path)!r} does not exist") from error
    except UserError:
        raise
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"cannot read {str(path)!r} as a PyTorch checkpoint: {reason}") from error


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
        raise pickle.UnpicklingError(f"refused to load {module}.{name}: only tensors are allowed")

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


def _read_zip(file: IO[bytes]) -> tuple[Any, Numbers]:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    pickles = [name for name in members if name.endswith("data.pkl")]
    if not pickles:
        raise UserError("a zip archive without data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise UserError("big-endian checkpoints are not supported")
    found = _Unpickler(io.BytesIO(members[pickles[0]])).load()
    return found, lambda storage: _numbers(members[f"{folder}data/{storage.key}"], storage)


def _read_legacy(file: IO[bytes]) -> tuple[Any, Numbers]:
    """Magic number, protocol, machine facts, the object, the storages' keys; then each storage's numbers."""
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise UserError("no PyTorch magic number")
    _Unpickler(file).load()
    facts = _Unpickler(file).load()
    if not facts.get("little_endian", True):
        raise UserError("big-endian checkpoints are not supported")
    storages: dict[str, _Storage] = {}

    class Recorder(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            storage = super().persistent_load(pid)
            storages[storage.key] = storage
            return storage

    found = Recorder(file).load()
    raw = {}
    for key in _Unpickler(file).load():
        storage = storages[str(key)]
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel:
            raise ValueError(f"storage {key} has {numel} numbers, expected {storage.numel}")
        raw[str(key)] = file.read(numel * _itemsize(storage.dtype))
    return found, lambda storage: _numbers(raw[storage.key], storage)


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
    if len(data) != storage.numel * _itemsize(storage.dtype):
        raise ValueError(f"storage {storage.key} is cut short")
    if storage.dtype == "bfloat16":
        # bfloat16 is the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, storage.dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Cut the tensor out of its storage, as an array of its own."""
    if min((*tensor.shape, *tensor.stride, tensor.offset, 0)) < 0 or len(tensor.shape) != len(tensor.stride):
        raise ValueError("a tensor with impossible strides")
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride))
    if math.prod(tensor.shape) and last >= numbers.size:
        raise ValueError("a tensor beyond the end of its storage")
    steps = tuple(s * numbers.itemsize for s in tensor.stride)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps)
    return view.astype(view.dtype.newbyteorder("="), copy=True) if sys.byteorder == "big" else view.copy()
