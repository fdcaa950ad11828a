"""Engine files: a model's OpenVINO graph, kept in the user's cache so that a prediction needs neither Keras nor a framework.

A model file may come from a stranger, and is judged by :mod:`keras_transfer.safety` before anything opens it. A graph beside it would be
an unjudged way around that. So it is kept where only the user writes, under the SHA-256 of the model file that it was made from: it
follows the run wherever that is moved or copied, a changed model file has none, and a folder that cannot be written needs none.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import __version__, runtime
from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write
from keras_transfer.safety.archive import read_npz

LAYOUT = 1  # version of the file, and of what is written into the graph
LIMIT = 2 << 30  # bytes of all engine files together; the least recently used are removed first
_NAMES = ("graph", "weights", "metadata", "images", "logits")


@dataclass(frozen=True)
class Engine:
    """What an engine file holds.

    Attributes:
        graph: OpenVINO's XML.
        weights: uint8 (bytes,), its constants.
        metadata: of the model file.
        images: the golden images, uint8 (n, h, w, c).
        logits: what the model computes for them on its framework, float32 (n, C).
    """

    graph: bytes
    weights: np.ndarray
    metadata: dict[str, Any]
    images: np.ndarray
    logits: np.ndarray


def digest_of(model_file: Path) -> str:
    """Return the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with model_file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find(digest: str) -> Engine | None:
    """Return the engine of the model file with this digest, or None; a file that is damaged, or that others may write, is passed over."""
    path = _path(digest)
    try:
        if not _is_private(path) or not _is_private(path.parent):
            return None
        found = read_npz(path, path, _NAMES)  # checks the CRC of every member
        metadata = json.loads(found["metadata"].tobytes())
        engine = Engine(found["graph"].tobytes(), found["weights"], metadata, found["images"], found["logits"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, UserError):
        return None
    with suppress(OSError):
        os.utime(path)  # the time of the last use
    return engine


def keep(digest: str, engine: Engine) -> bool:
    """Keep the engine of the model file with this digest, if there is room and the cache can be written; return whether it is kept."""
    size = engine.weights.nbytes + len(engine.graph)
    if size > LIMIT // 2:
        return False
    path = _path(digest)
    arrays: Mapping[str, np.ndarray] = {
        "graph": np.frombuffer(engine.graph, np.uint8),
        "weights": engine.weights,
        "metadata": np.frombuffer(json.dumps(engine.metadata).encode(), np.uint8),
        "images": engine.images,
        "logits": engine.logits,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_room(path.parent, size)
        with atomic_write(path) as stream:
            np.savez(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        if os.name == "posix":
            path.chmod(0o600)
    except (OSError, UserError):  # no room, no permission, no home
        return False
    return True


def _path(digest: str) -> Path:
    import openvino

    version = openvino.__version__.partition("-")[0]
    key = hashlib.sha256(json.dumps([LAYOUT, __version__, version, digest]).encode()).hexdigest()
    return runtime.cache_dir() / "engines" / f"{key}.npz"


def _is_private(path: Path) -> bool:
    """Return whether nobody but this user, or the administrator, can have written a file or into a folder."""
    if os.name != "posix":
        return True
    found = path.stat()
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _make_room(folder: Path, size: int) -> None:
    """Remove the least recently used files until ``size`` bytes fit."""
    kept = sorted(_kept(folder))
    total = sum(bytes_ for _, bytes_, _ in kept)
    for _, bytes_, path in kept:
        if total + size <= LIMIT:
            return
        with suppress(OSError):
            path.unlink()
            total -= bytes_


def _kept(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.glob("*.npz"):
        with suppress(OSError):  # another process may have removed it
            found = path.stat()
            yield found.st_mtime, found.st_size, path
