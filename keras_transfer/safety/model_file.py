"""Check and load ``.keras`` files; nothing else in the package opens them.

Keras never sees the original file. It loads a copy of the three members that it needs, each of them checked, so that
nothing else can be unpacked and nothing can change between check and use.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from keras_transfer.errors import MissingExtra, Trouble, UserError
from keras_transfer.files import add_member, is_trouble, temporary_folder
from keras_transfer.keras_compat import calls
from keras_transfer.keras_compat.locks import EXCLUSIVE
from keras_transfer.safety import Refused
from keras_transfer.safety.archive import check_members
from keras_transfer.safety.config import MAX_BYTES, check_config
from keras_transfer.safety.graph_sizes import MAX_TENSOR, judge
from keras_transfer.safety.hdf5 import check_hdf5

METADATA = "keras_transfer/metadata.json"
GOLDEN = "keras_transfer/golden.npz"
MEMBERS = {
    "config.json": MAX_BYTES,
    "metadata.json": 1 << 20,
    "model.weights.h5": 1 << 36,
    METADATA: 16 << 20,
    GOLDEN: 1 << 28,
}
"""Allowed member → maximum size in bytes."""
KERAS_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
SPARE_WEIGHTS = 1 << 20
"""Elements that layers may allocate beyond those in the file (e.g. dropout seeds)."""


def load_keras(
    path: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    image: tuple[int, int, int] | None = None,
) -> keras.Model:
    """Check all of a ``.keras`` file, then load its model.

    Args:
        path: the file.
        image: height, width and channels of the images that the model is for, where its configuration leaves them open.
        custom_objects: the caller's own classes and functions that the file may name, by the names that Keras saved
            (``"Name"`` or ``"package>Name"``).

    Returns:
        The model, not compiled.

    Raises:
        Refused: the archive, the configuration or the weights contain something that is not allowed.
        UserError: Keras cannot load it.
        MissingExtra: it contains layers of keras-hub, which is not installed.
    """
    custom = dict(custom_objects or {})
    with temporary_folder(f"unpack the model {str(path)!r}") as folder, opened(path) as archive:
        config = check_config(archive.read("config.json"), path, custom)
        weights = folder / "model.weights.h5"
        with archive.open("model.weights.h5") as source, weights.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        numbers = check_hdf5(weights, path)
        shapes = judge(config, path, image, numbers, custom)
        if '"keras_hub.' in json.dumps(config):
            import_hub(path)
        checked = folder / "model.keras"
        with zipfile.ZipFile(checked, "w", strict_timestamps=False) as copy:
            add_member(copy, "metadata.json", archive.read("metadata.json"))
            add_member(copy, "config.json", json.dumps(config))
            copy.write(weights, "model.weights.h5")
        weights.unlink()
        model = _load(checked, path, custom, numbers)
    _check_tensors(model, path, shapes)
    return model


@contextmanager
def opened(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Open a model file after :func:`check_members`.

    Raises:
        Refused: see :func:`check_members`.
        UserError: it does not exist, or is not a Keras model file.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"model file {str(path)!r} does not exist")
    if not path.is_file():
        raise UserError(f"{str(path)!r} is a folder, expected a .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            if not set(archive.namelist()).issuperset(KERAS_MEMBERS):
                raise UserError(f"{str(path)!r} is a zip archive but not a Keras model file")
            check_members(archive, path, MEMBERS)
            yield archive
    # zipfile passes on what it meets in a member's own header, such as a name that is no text.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        if is_trouble(error):  # of this machine: the file may be as good as ever
            if getattr(error, "filename", None) == str(path):
                raise Trouble(f"cannot read {str(path)!r}: {error}") from error
            raise
        raise UserError(f"{str(path)!r} is not a Keras model file, or is damaged: {error}") from error


def _load(checked: Path, path: str | Path, custom: dict[str, Any], numbers: int) -> keras.Model:
    refused: list[Refused] = []
    try:
        with EXCLUSIVE, _weight_budget(numbers + SPARE_WEIGHTS, path, refused):
            return keras.models.load_model(checked, custom_objects=custom, compile=False, safe_mode=True)
    # Keras passes on whatever a damaged or unknown configuration raises.
    except Exception as error:
        if is_trouble(error):
            raise
        if refused:
            raise refused[0] from None
        reason = " ".join(str(error).replace(str(checked), str(path)).split())[:300] or type(error).__name__
        raise UserError(f"cannot load the model in {str(path)!r}: {reason}") from error


@contextmanager
def _weight_budget(numbers: int, path: str | Path, refused: list[Refused]) -> Iterator[None]:
    """Limit the weights that layers allocate inside the block to what the file holds.

    A few bytes of configuration can describe a layer of a terabyte, which Keras would allocate before it finds its
    weights missing. Keras's method is replaced for the length of the block, so the caller holds ``EXCLUSIVE``; layers that
    other threads build meanwhile are not counted.
    """
    add_weight = keras.layers.Layer.add_weight
    loading = threading.get_ident()

    def counted(self: keras.layers.Layer, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal numbers
        if threading.get_ident() != loading:
            return add_weight(self, shape, *args, **kwargs)
        numbers -= math.prod(shape if isinstance(shape, (tuple, list)) else () if shape is None else (shape,))
        if numbers < 0:
            refused.append(Refused(path, f"layer {self.name!r} asks for weights {shape} that are not in the file"))
            raise refused[0]
        return add_weight(self, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


def _check_tensors(model: keras.Model, path: str | Path, judged: Mapping[str, list[Any]]) -> None:
    """Refuse a model whose tensors are larger than they were judged, or, behind the caller's own layers, than allowed."""
    for operation in getattr(model, "operations", ()):
        if isinstance(operation, keras.Model):
            _check_tensors(operation, path, {})
        expected = [shape for shape in judged.get(operation.name, []) if shape is not None]
        limit = max((math.prod(shape) for shape in expected), default=MAX_TENSOR)
        for node in calls(operation):
            for tensor in node.output_tensors:
                if (
                    not isinstance(operation, keras.layers.InputLayer)
                    and math.prod(n or 1 for n in tensor.shape) > limit
                ):
                    raise Refused(
                        path, f"layer {operation.name!r} makes tensors {tensor.shape}, larger than it lets expect"
                    )


def import_hub(path: str | Path) -> None:
    """Import keras-hub for the model in ``path``, or raise MissingExtra."""
    try:
        importlib.import_module("keras_hub")
    except ImportError as error:
        raise MissingExtra("keras-hub", "hub", f"the model in {str(path)!r}") from error
