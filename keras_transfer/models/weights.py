"""Backbone weights from Keras files, and error messages for failed downloads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.keras_compat import snake_case

if TYPE_CHECKING:
    import h5py
    import keras

_TIMEOUT = 20.0  # seconds without data after which a download is aborted
_ADVICE = (
    "use the embedded backbone efficientnet_lite0 (its ImageNet weights are installed), give the path of a weights"
    " file as weights, or weights none to start from random ones"
)
_HEAD = "logits"


@contextmanager
def impatient(seconds: float = _TIMEOUT) -> Iterator[None]:
    """Time out connections after ``seconds`` without data: Keras's downloads have no timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def downloading(backbone: str, seconds: float = _TIMEOUT) -> Iterator[None]:
    """Turn a failed download of ImageNet weights into an error that names the alternatives.

    Raises:
        UserError: no network, an error of the server, or a wrong checksum.
    """
    try:
        with impatient(seconds):
            yield
    except Exception as error:
        text = " ".join(str(error).split())
        # Keras raises a bare Exception for a failed URL and ValueError for a wrong checksum.
        if isinstance(error, (URLError, OSError)) or "URL fetch failure" in text or "corrupted" in text:
            raise UserError(f"cannot download the ImageNet weights of {backbone} ({text[:200]}); {_ADVICE}") from error
        raise


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Load a backbone's weights from a file.

    Args:
        model: the backbone as its record builds it.
        path: ``.weights.h5`` or ``.h5``, written by ``save_weights`` of the same architecture without top; or ``.keras``,
            a saved backbone or a classifier built on it (its head is ignored).

    Raises:
        Refused: the file refers to code or other files, or claims more data than it holds.
        UserError: the file is missing, is none of these, or belongs to another architecture; the message names the first
            layer that does not fit.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"weights file {str(path)!r} does not exist (weights: imagenet, none or the path of a file)")
    try:
        if path.suffix == ".keras":
            _copy_by_order(model, path)
        elif path.suffix == ".h5":
            _load_h5(model, path)
        else:
            raise UserError(f"weights file {str(path)!r}: expected a name that ends in .weights.h5, .h5 or .keras")
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"cannot load weights file {str(path)!r} into {model.name}: {reason}") from error


def _load_h5(model: keras.Model, path: Path) -> None:
    import h5py

    from keras_transfer.safety.hdf5 import check_hdf5

    check_hdf5(path)
    with h5py.File(path) as file:
        if "layers" in file or "_layer_checkpoint_dependencies" in file:
            mismatch = _first_mismatch(model, file)
            if mismatch:
                raise ValueError(mismatch)
    model.load_weights(path)


def _first_mismatch(model: keras.Model, file: h5py.File) -> str | None:
    """Compare shapes layer by layer; Keras itself ignores surplus weights in the file."""
    stored = _stored_shapes(file["layers"]) if "layers" in file else {}
    expected = _expected(model)
    for key, layer in expected.items():
        shapes = [tuple(w.shape) for w in layer.weights]
        if key not in stored:
            return f"layer {layer.name} has no weights in the file, expected shapes {shapes}"
        if stored[key] != shapes:
            return f"layer {layer.name} expects shapes {shapes}, the file has {stored[key]}"
    extra = [key for key in stored if key not in expected and "/" not in key]
    return f"the file also has weights for {extra[0]}, which {model.name} does not have" if extra else None


def _expected(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Map the names under which Keras stores layers with weights (class and number) to the layers."""
    counts: dict[str, int] = {}
    found = {}
    for layer in model.layers:
        kind = snake_case(type(layer).__name__)
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        if layer.weights and not hasattr(layer, "layers"):
            found[kind if number == 0 else f"{kind}_{number}"] = layer
    return found


def _stored_shapes(group: h5py.Group) -> dict[str, list[tuple[int, ...]]]:
    import h5py

    found: dict[str, list[tuple[int, tuple[int, ...]]]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and "/vars/" in name and "seed_generator" not in name:
            found.setdefault(name.split("/vars/")[0], []).append((int(name.rsplit("/", 1)[1]), tuple(item.shape)))

    group.visititems(visit)
    return {name: [shape for _, shape in sorted(shapes)] for name, shapes in found.items()}


def _copy_by_order(model: keras.Model, path: Path) -> None:
    """Copy the weights of a saved model layer by layer, in graph order."""
    from keras_transfer.safety.model_file import load_keras

    source = load_keras(path)
    theirs = [layer for layer in _weighted(source) if layer.name != _HEAD]
    ours = _weighted(model)
    for mine, other in zip(ours, theirs):
        expected, received = _shapes(mine), _shapes(other)
        if expected != received and not _same_numbers(expected, received):
            raise ValueError(f"layer {mine.name} expects shapes {expected}, {other.name} in the file has {received}")
    if len(ours) != len(theirs):
        raise ValueError(f"{model.name} has {len(ours)} layers with weights, the file has {len(theirs)}")
    for mine, other in zip(ours, theirs):
        values = [np.reshape(v, shape) for v, shape in zip(other.get_weights(), _shapes(mine))]
        mine.set_weights(values)


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    import keras

    from keras_transfer.models.graph import flat_layers

    # A Normalization layer is preprocessing, for which the classifier has its own layer.
    return [la for la in flat_layers(model) if la.weights and not isinstance(la, keras.layers.Normalization)]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(w.shape) for w in layer.weights]


def _same_numbers(a: list[tuple[int, ...]], b: list[tuple[int, ...]]) -> bool:
    """Return whether shapes differ only by ones: a factor per channel (C,), saved as a depthwise kernel (1, 1, C, 1)."""
    return [[n for n in s if n != 1] for s in a] == [[n for n in s if n != 1] for s in b]
