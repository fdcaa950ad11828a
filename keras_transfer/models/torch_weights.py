"""Weights of PyTorch models in Keras models of the same architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.errors import UserError

if TYPE_CHECKING:
    import keras

_TORCHVISION = "https://download.pytorch.org/models/"


def set_weights(
    model: keras.Model, weights: str, names: Mapping[str, str], imagenet: Callable[[], Path]
) -> keras.Model:
    """Give a backbone, which is known in PyTorch too, the weights that its configuration names; return it.

    Args:
        model: the backbone, with random weights.
        weights: ``imagenet``, ``none``, or the path of a PyTorch or Keras file.
        names: as for :func:`load_torch_weights`.
        imagenet: finds or downloads the published checkpoint.

    Raises:
        UserError: there is no such file, or it does not fit.
    """
    from keras_transfer.models.weights import load_weights

    if weights == "imagenet":
        load_torch_weights(model, imagenet(), names)
    elif is_torch_file(weights):
        load_torch_weights(model, weights, names)
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


def load_torch_weights(model: keras.Model, path: str | Path, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Copy the weights of a PyTorch state dict into a model.

    Args:
        model: of the same architecture.
        path: ``.pth``, ``.pt`` or ``.safetensors``.
        names: name of each layer with weights → its prefix in the state dict.

    Returns:
        The whole state dict.

    Raises:
        UserError: the file is missing or damaged, or does not fit; the message names the first layer that does not.
    """
    state = _read(path)
    for layer_name, torch_name in names.items():
        layer = model.get_layer(layer_name)
        try:
            layer.set_weights(_layer_weights(layer, state, torch_name))
        except (KeyError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
            raise UserError(
                f"{str(path)!r} does not fit {model.name}: layer {layer_name} ({torch_name}): {reason}"
            ) from error
    return state


def _read(path: str | Path) -> dict[str, np.ndarray]:
    if str(path).endswith(".safetensors"):
        from keras_transfer.models.safetensors import read_safetensors

        state = read_safetensors(path)
    else:
        from keras_transfer.models.torch_checkpoint import read_torch_state_dict

        state = read_torch_state_dict(path)
    # A model that was trained on several GPUs has its names under "module.".
    return {name.removeprefix("module."): value for name, value in state.items()}


def _layer_weights(layer: keras.layers.Layer, state: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Return the layer's weights from the PyTorch state, in Keras's order and axes."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        return [state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = state[f"{name}.weight"]
    if isinstance(layer, keras.layers.Conv2D) and kernel.ndim == 2:  # a fully connected layer as a convolution
        height, width, channels, _ = layer.kernel.shape
        kernel = kernel.reshape(len(kernel), channels, height, width)
    if kernel.ndim == 2:
        kernel = kernel.T
    else:
        # (out, in, height, width) → (height, width, in, out); depthwise (channels, 1, h, w) → (h, w, channels, 1)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return [kernel, state[f"{name}.bias"]] if layer.use_bias else [kernel]
