"""Weights of PyTorch models in Keras models of the same architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.errors import UserError

if TYPE_CHECKING:
    import keras

    from keras_transfer.models.backbones.record import Checkpoint

_TORCHVISION = "https://download.pytorch.org/models/"
HEADS = ("fc.", "_fc.", "classifier.", "head.", "pre_logits.")
"""How the names of the layers begin that turn features into classes."""
_COUNTER = ".num_batches_tracked"  # what PyTorch's BatchNorm keeps besides its statistics


def set_weights(
    model: keras.Model,
    weights: str,
    checkpoints: Sequence[Checkpoint],
    backbone: str,
    imagenet: Callable[[], Path] | None = None,
) -> keras.Model:
    """Give a backbone, which is known in PyTorch too, the weights that its configuration names; return it.

    Args:
        model: the backbone, with random weights.
        weights: ``imagenet``, ``none``, or the path of a PyTorch or Keras file.
        checkpoints: the state dicts that fit it.
        backbone: name for the error.
        imagenet: finds or downloads the published checkpoint.

    Raises:
        UserError: there is no such file, or it does not fit.
    """
    from keras_transfer.models.weights import load_weights

    if weights == "imagenet" and imagenet is not None:
        load_torch_weights(model, imagenet(), checkpoints, backbone)
    elif is_torch_file(weights):
        load_torch_weights(model, weights, checkpoints, backbone)
    elif weights != "none":
        load_weights(model, weights)
    return model


def is_torch_file(weights: str) -> bool:
    """Whether ``weights`` names a PyTorch checkpoint."""
    return weights.endswith((".pth", ".pt", ".safetensors"))


def torchvision_weights(file_name: str, backbone: str) -> Path:
    """Download a checkpoint of torchvision's to Keras's cache, once, and return its path.

    Args:
        file_name: as torchvision publishes it, such as ``resnet18-f37072fd.pth``; what follows the last hyphen is the
            beginning of its SHA-256.
        backbone: name for the error.

    Raises:
        UserError: no network, or the file is not the published one.
    """
    import keras

    from keras_transfer.models.weights import downloading

    with downloading(backbone):
        path = Path(keras.utils.get_file(file_name, _TORCHVISION + file_name, cache_subdir="models"))
    expected = Path(file_name).stem.rpartition("-")[2]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected):
        path.unlink()
        raise UserError(f"the downloaded {file_name} is damaged and was removed; train again to download it anew")
    return path


def load_torch_weights(
    model: keras.Model, path: str | Path, checkpoints: Sequence[Checkpoint], backbone: str
) -> dict[str, np.ndarray]:
    """Copy the weights of a PyTorch state dict into a model.

    Args:
        model: of the same architecture.
        path: ``.pth``, ``.pt`` or ``.safetensors``.
        checkpoints: whose names the file may have.
        backbone: name for the error.

    Returns:
        The whole state dict. Its last layers, which turn features into classes, are read by nobody here.

    Raises:
        UserError: the file is missing or damaged, or does not fit; the message names the first layer that does not,
            and the backbone that the file looks like.
    """
    state = read_state(path)
    names = max((checkpoint.names() for checkpoint in checkpoints), key=lambda names: _likeness(names, state))
    try:
        used = {key for layer, torch_name in names.items() for key in _fill(model.get_layer(layer), state, torch_name)}
        extra = [key for key in state if key not in used and not key.startswith(HEADS) and not key.endswith(_COUNTER)]
        if extra:
            raise _Unfit(f"it also has {extra[0]}")
    except _Unfit as error:
        hint = looks_like(state, backbone, _likeness(names, state))
        raise UserError(f"{str(path)!r} does not fit {backbone}: {error}{hint}") from error
    return state


class _Unfit(Exception):
    """What of a state dict does not fit."""


def _fill(layer: keras.layers.Layer, state: Mapping[str, np.ndarray], torch_name: str) -> list[str]:
    """Set the weights of a layer; return the names of what was used."""
    where = f"layer {layer.name} ({torch_name})"
    keys = [f"{torch_name}.{part}" for part in _parts(layer)]
    missing = [key for key in keys if key not in state]
    if missing:
        raise _Unfit(f"{where}: no {missing[0]!r}")
    values = [state[key] for key in keys]
    try:
        values[0] = _kernel(layer, values[0])
    except ValueError as error:
        raise _Unfit(f"{where}: {' '.join(str(error).split())[:200]}") from error
    for value, variable in zip(values, layer.weights, strict=True):
        if value.shape != tuple(variable.shape):
            raise _Unfit(f"{where}: expected shape {tuple(variable.shape)}, the file has {value.shape}")
    layer.set_weights(values)
    return keys


def looks_like(state: Mapping[str, np.ndarray], but: str = "", likeness: float = 0.0) -> str:
    """Return ``"; it looks like NAME"`` with the backbones whose names a state dict has, or an empty text.

    Args:
        state: name → array.
        but: a backbone that it does not fit, whatever the names say.
        likeness: how much it is like that one: others must be as like.
    """
    from keras_transfer.models.backbones import BACKBONES

    found = {
        record.name: max((_likeness(c.names(), state) for c in record.all_checkpoints()), default=0.0)
        for record in BACKBONES.values()
        if record.name != but
    }
    best = max(found.values())
    if best < max(0.5, likeness):
        return ""
    return f"; it looks like {' or '.join(name for name, value in found.items() if value == best)}"


def _likeness(names: Mapping[str, str], state: Mapping[str, np.ndarray]) -> float:
    """The share of layers that two networks have in common, 0..1, by name."""
    ours = set(names.values())
    theirs = {name.rpartition(".")[0] for name in state}
    theirs = {name for name in theirs if name in ours or not f"{name}.".startswith(HEADS)}
    return len(theirs & ours) / len(theirs | ours)


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict.

    Args:
        path: ``.pth``, ``.pt`` or ``.safetensors``.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = Path(path).expanduser()
    if path.suffix == ".safetensors":
        from keras_transfer.models.safetensors import read_safetensors

        state = read_safetensors(path)
    else:
        from keras_transfer.models.torch_checkpoint import read_torch_state_dict

        state = read_torch_state_dict(path)
    # A model that was trained on several GPUs has its names under "module.".
    return {name.removeprefix("module."): value for name, value in state.items()}


def _parts(layer: keras.layers.Layer) -> tuple[str, ...]:
    """PyTorch's names of a layer's weights, in Keras's order."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return ("weight", "bias", "running_mean", "running_var")
    return ("weight", "bias") if layer.use_bias else ("weight",)


def _kernel(layer: keras.layers.Layer, kernel: np.ndarray) -> np.ndarray:
    """Return a layer's first weight from PyTorch's, in Keras's axes."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return kernel
    if isinstance(layer, keras.layers.Conv2D) and kernel.ndim == 2:  # a fully connected layer as a convolution
        height, width, channels, _ = layer.kernel.shape
        kernel = kernel.reshape(len(kernel), channels, height, width)
    if kernel.ndim == 2:
        return kernel.T
    # (out, in, height, width) → (height, width, in, out); depthwise (channels, 1, h, w) → (h, w, channels, 1)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
