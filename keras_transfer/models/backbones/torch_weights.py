"""Weights of PyTorch models in Keras models of the same architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.weights import downloading, load_weights

if TYPE_CHECKING:
    import keras

    from keras_transfer.models.backbones.record import Checkpoint

_TORCHVISION = "https://download.pytorch.org/models/"
HEADS = ("fc.", "_fc.", "classifier.", "head.", "pre_logits.")
"""Prefixes of the classification layers' names."""
_COUNTER = ".num_batches_tracked"  # in PyTorch's BatchNorm, besides its statistics


def set_weights(
    model: keras.Model,
    weights: str,
    checkpoints: Sequence[Checkpoint],
    backbone: str,
    imagenet: Callable[[], Path] | None = None,
) -> keras.Model:
    """Load the weights that a configuration names into a backbone that also exists in PyTorch, and return it.

    Args:
        model: the backbone, with random weights.
        weights: ``imagenet``, ``none``, or the path of a PyTorch or Keras file.
        checkpoints: the state dicts that fit it.
        backbone: name, for errors.
        imagenet: finds or downloads the published PyTorch checkpoint.

    Raises:
        UserError: the file is missing, or does not fit.
    """
    if weights == "imagenet" and imagenet is not None:
        load_torch_weights(model, imagenet(), checkpoints, backbone)
    elif is_torch_file(weights):
        load_torch_weights(model, weights, checkpoints, backbone)
    elif weights != "none":
        load_weights(model, weights)
    return model


def is_torch_file(weights: str) -> bool:
    """Return whether ``weights`` is the path of a PyTorch checkpoint."""
    return weights.endswith((".pth", ".pt", ".safetensors"))


def torchvision_weights(file_name: str, backbone: str) -> Path:
    """Return the path of a torchvision checkpoint in Keras's cache; download it if it is not there yet.

    Args:
        file_name: as published by torchvision, e.g. ``resnet18-f37072fd.pth``; the part after the last hyphen is the
            start of the file's SHA-256.
        backbone: name, for errors.

    Raises:
        UserError: the download fails, or its checksum is wrong.
    """
    import keras

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
        model: a model of the same architecture.
        path: ``.pth``, ``.pt`` or ``.safetensors``.
        checkpoints: the naming schemes that the file may follow.
        backbone: name, for errors.

    Returns:
        The whole state dict, with the classification layers, which are not copied.

    Raises:
        UserError: the file is missing or damaged, or does not fit; the message names the first layer that does not
            fit, and the backbone that the file looks like.
    """
    state = read_state(path)
    names = max((checkpoint.names() for checkpoint in checkpoints), key=lambda names: _likeness(names, state))
    try:
        used = {key for layer, torch_name in names.items() for key in _fill(model.get_layer(layer), state, torch_name)}
        extra = [key for key in state if key not in used and not key.startswith(HEADS) and not key.endswith(_COUNTER)]
        if extra:
            raise _Mismatch(f"it also has {extra[0]}")
    except _Mismatch as error:
        hint = looks_like(state, backbone, _likeness(names, state))
        raise UserError(f"{str(path)!r} does not fit {backbone}: {error}{hint}") from error
    return state


class _Mismatch(Exception):
    """The first difference between a state dict and a model."""


def _fill(layer: keras.layers.Layer, state: Mapping[str, np.ndarray], torch_name: str) -> list[str]:
    """Set the weights of a layer; return the keys of the state dict that were used."""
    where = f"layer {layer.name} ({torch_name})"
    keys = [f"{torch_name}.{part}" for part in _parts(layer)]
    missing = [key for key in keys if key not in state]
    if missing:
        raise _Mismatch(f"{where}: no {missing[0]!r}")
    values = [state[key] for key in keys]
    try:
        values[0] = _kernel(layer, values[0])
    except ValueError as error:
        raise _Mismatch(f"{where}: {' '.join(str(error).split())[:200]}") from error
    for value, variable in zip(values, layer.weights, strict=True):
        if value.shape != tuple(variable.shape):
            raise _Mismatch(f"{where}: expected shape {tuple(variable.shape)}, the file has {value.shape}")
    layer.set_weights(values)
    return keys


def looks_like(state: Mapping[str, np.ndarray], but: str = "", likeness: float = 0.0) -> str:
    """Return ``"; it looks like NAME"`` for the backbones with this state dict's names, or an empty string.

    Args:
        state: name → array.
        but: name of a backbone to leave out, because the state dict is known not to fit it.
        likeness: the least likeness of a backbone to be named: that of ``but``.
    """
    # Not at the top: importing that package imports this module.
    from keras_transfer.models.backbones.record import BACKBONES

    found = {
        record.name: max((_likeness(c.names(), state) for c in record.all_checkpoints()), default=0.0)
        for record in BACKBONES.built_in.values()
        if record.name != but
    }
    best = max(found.values())
    if best < max(0.5, likeness):
        return ""
    return f"; it looks like {' or '.join(name for name, value in found.items() if value == best)}"


def _likeness(names: Mapping[str, str], state: Mapping[str, np.ndarray]) -> float:
    """Return the share of layer names, 0..1, that a backbone and a state dict have in common."""
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
    # DataParallel prefixes every name with "module.".
    return {name.removeprefix("module."): value for name, value in state.items()}


def _parts(layer: keras.layers.Layer) -> tuple[str, ...]:
    """Return PyTorch's names of a layer's weights, in Keras's order."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return ("weight", "bias", "running_mean", "running_var")
    return ("weight", "bias") if layer.use_bias else ("weight",)


def _kernel(layer: keras.layers.Layer, kernel: np.ndarray) -> np.ndarray:
    """Transpose a layer's first weight from PyTorch's axis order to Keras's."""
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
