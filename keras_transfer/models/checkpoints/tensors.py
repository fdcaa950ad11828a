"""The tensors of a checkpoint: one ``model.safetensors``, or several files listed in ``model.safetensors.index.json``.

A tensor is read when it is taken, and what was not taken is known in the end: a converted network must use every tensor, or name those that
it leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.record import Facts, read_facts
from keras_transfer.models.safetensors import SafeFile

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
_MAX_INDEX = 16 << 20  # bytes
_WRAPPER = "timm_model."  # transformers' name for a model of timm within one of its own


class Tensors:
    """The tensors of a folder, by name.

    Args:
        folder: of the checkpoint.

    Raises:
        UserError: no file, a damaged one, or an index that does not fit its files.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, SafeFile] = {}
        self._taken: set[str] = set()
        shards = _shards(folder)
        if not shards and not (folder / _SINGLE).is_file():
            raise UserError(_without_weights(folder))
        for name in dict.fromkeys(shards.values()) if shards else [_SINGLE]:
            file = SafeFile(folder / name)
            for key in file.names():
                if key in self._files or shards.get(key, name) != name or (shards and key not in shards):
                    raise UserError(f"{str(folder / _INDEX)!r} does not fit {name!r}, which has a tensor {key!r}")
                self._files[key] = file
        missing = [key for key in shards if key not in self._files]
        if missing:
            raise UserError(f"{str(folder / shards[missing[0]])!r} has no tensor {missing[0]!r}, which the index names")
        self._start = _WRAPPER if self._files and all(key.startswith(_WRAPPER) for key in self._files) else ""
        self._files = {key.removeprefix(self._start): file for key, file in self._files.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it.

        Raises:
            UserError: there is none of this name.
        """
        return self._file(key).shape(self._start + key)

    def check_types(self, more: Collection[str]) -> None:
        """Check that all tensors are of floating point, or of the types ``more``: neither quantized nor damaged.

        Raises:
            UserError: one is not.
        """
        for key, file in self._files.items():
            found = file.dtype(self._start + key)
            if found not in (*_FLOATS, *more):
                raise UserError(f"{str(file.path)!r}: tensor {key!r} has type {found}, expected floating point")

    def take(self, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return a tensor in PyTorch's axis order, float32.

        Args:
            key: its name.
            shape: that it must have.

        Raises:
            UserError: there is none of this name, or its shape or type is another.
        """
        file, stored = self._file(key), self._start + key
        if shape is not None and file.shape(stored) != shape:
            raise UserError(f"{str(file.path)!r}: tensor {key!r} has shape {file.shape(stored)}, expected {shape}")
        if file.dtype(stored) not in _FLOATS:
            raise UserError(
                f"{str(file.path)!r}: tensor {key!r} has type {file.dtype(stored)}, expected floating point"
            )
        self._taken.add(key)
        return np.asarray(file.read(stored), np.float32)

    def left(self) -> list[str]:
        """Return the names of the tensors that were not taken and hold numbers."""
        return [key for key in self._files if key not in self._taken and 0 not in self.shape(key)]

    def leave(self, start: str) -> None:
        """Leave out, on purpose, the tensors whose names start with ``start``."""
        self._taken.update(key for key in self._files if key.startswith(start))

    def everything(self) -> dict[str, np.ndarray]:
        """Return all tensors, in the types of the files, but bfloat16 as float32."""
        return {key: file.read(self._start + key) for key, file in self._files.items()}

    def parameters(self) -> int:
        """Return the number of parameters in the files."""
        return sum(int(np.prod(self.shape(key))) for key in self._files)

    def _file(self, key: str) -> SafeFile:
        if key not in self._files:
            raise UserError(f"the checkpoint in {str(self.folder)!r} has no tensor {key!r}")
        return self._files[key]


@dataclass(frozen=True)
class Part:
    """A part of a checkpoint: a prefix of tensor names, and the start of the names of its layers.

    The start of a layer's name up to the first ``_`` is its layer group: ``block3_mlp_fc1`` belongs to the group ``block3``.

    Attributes:
        tensors: of the whole checkpoint.
        facts: about the checkpoint.
        prefix: of the tensors' names, with its final dot.
        layer: start of the layers' names, without a final ``_``.
    """

    tensors: Tensors = field(repr=False)
    facts: Facts = field(repr=False)
    prefix: str = ""
    layer: str = ""

    def part(self, key: str, layer: str | None = None) -> Part:
        """Return the part under ``key``; its layers start with ``layer``, or with this part's and ``key``."""
        prefix = f"{self.prefix}{key}." if key else self.prefix
        return Part(self.tensors, self.facts, prefix, self.name(key) if layer is None else layer)

    def name(self, key: str) -> str:
        """Return the name of the layer for the tensors under ``key``."""
        return "_".join(part for part in (self.layer, key.replace(".", "_")) if part)

    def has(self, key: str) -> bool:
        """Return whether there is a tensor of this name."""
        return f"{self.prefix}{key}" in self.tensors

    def shape(self, key: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.tensors.shape(f"{self.prefix}{key}")

    def take(self, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return a tensor, float32; see :meth:`Tensors.take`."""
        return self.tensors.take(f"{self.prefix}{key}", shape)

    def leave(self, key: str) -> None:
        """Leave out, on purpose, the tensors whose names start with ``key``."""
        self.tensors.leave(f"{self.prefix}{key}")

    def check_alike(self, keys: Sequence[str], unlike: tuple[str, ...] = ()) -> None:
        """Check that these parts, such as the blocks of a transformer, have tensors of the same names.

        What a block may have or not (biases, scales, gates) is told by its tensors, so that a missing one must be noticed by comparison.

        Args:
            keys: of the parts.
            unlike: parts of names that need not be everywhere.

        Raises:
            UserError: one lacks a tensor that another has.
        """
        names = [self._names_under(key, unlike) for key in keys]
        for key, mine in zip(keys, names):
            missing = sorted(set().union(*names) - mine)
            if missing:
                raise UserError(
                    f"the checkpoint in {str(self.tensors.folder)!r} has no tensor '{self.prefix}{key}.{missing[0]}'"
                )

    def _names_under(self, key: str, unlike: tuple[str, ...]) -> set[str]:
        start = f"{self.prefix}{key}."
        found = (name for name in self.tensors if name.startswith(start))
        return {name[len(start) :] for name in found if not any(part in name[len(start) :] for part in unlike)}


def read_checkpoint(folder: Path) -> Part:
    """Open the checkpoint in a folder.

    Raises:
        UserError: a file is missing or damaged.
    """
    facts = read_facts(folder)
    return Part(Tensors(folder), facts)


def _without_weights(folder: Path) -> str:
    """Return the error of a folder without a safetensors file that could be read: it may have its weights in another format."""
    text = f"{str(folder / _SINGLE)!r} does not exist"
    if any(folder.glob("*.safetensors")):
        other = min(path.name for path in folder.glob("*.safetensors"))
        return f"{text}, nor does {_INDEX}; if {other!r} has the whole network, rename it"
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
    if not pickles:
        return f"{text}: weights are read from safetensors files alone"
    return (
        f"{text}, and {pickles[0]!r} is a pickle, which could run code and is not opened: if you trust it, convert it by"
        " safetensors.torch.save_file(torch.load(…, weights_only=True), 'model.safetensors')"
    )


def _shards(folder: Path) -> Mapping[str, str]:
    """Return tensor → file name from the index; empty if there is a single file."""
    path = folder / _INDEX
    if (folder / _SINGLE).is_file() or not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise ValueError(f"it has {path.stat().st_size} bytes, expected at most {_MAX_INDEX}")
        found = json.loads(path.read_text("utf-8"))["weight_map"]
        if not found or not all(isinstance(name, str) for pair in found.items() for name in pair):
            raise ValueError("expected a weight_map of tensor names and file names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot read {str(path)!r}: {' '.join(str(error).split())[:160]}") from error
    for name in found.values():
        if "/" in name or "\\" in name or ":" in name or not name.endswith(".safetensors"):
            raise UserError(f"{str(path)!r}: expected names of .safetensors files in the folder, got {name[:100]!r}")
    return dict(found)
