"""Low-rank adapters (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685): a phase trains them in place of its kernels.

Keras adds them to the layers (``enable_lora``). At the end of the phase each is merged into its kernel and removed, and wherever a model is
saved meanwhile, it is saved as if it had been: a model file holds plain layers only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.keras_compat import all_layers, kernel_variable, remove_adapter, set_trainable
from keras_transfer.models.freeze import TrainableCounts, count
from keras_transfer.models.layer_names import head_layers

_ADAPTABLE = (keras.layers.Dense, keras.layers.EinsumDense)


def attach(model: keras.Model, rank: int, phase: str) -> TrainableCounts:
    """Give the backbone's ``Dense`` and ``EinsumDense`` layers that train an adapter, which trains in their place.

    Of the backbone, nothing else trains any more; the head trains as before. Layers that have their adapter already keep its values.
    An adapter begins with a random matrix, the same on every backend, times one of zeros: it changes nothing yet.

    Args:
        model: a classifier, prepared by :func:`.freeze.apply_train`.
        rank: of the adapters. Layers with no more inputs or outputs than that, which an adapter would not make smaller, are frozen.
        phase: its name, for the error.

    Raises:
        UserError: there is no layer to adapt.
    """
    head = {id(layer) for each in head_layers(model) for layer in all_layers(each)}
    chosen = [layer for layer in all_layers(model) if layer.trainable_weights and id(layer) not in head]
    leaves = [layer for layer in chosen if len(all_layers(layer)) == 1]
    adapted = [layer for layer in leaves if _is_adaptable(layer, rank)]
    if not adapted:
        raise UserError(
            f"phase {phase}: lora: {rank}: what trains of the backbone has no Dense or EinsumDense layer with more than {rank} inputs and"
            " outputs; convolutional backbones have none: leave lora out, or train more than the head of a transformer"
        )
    for layer in leaves:
        if layer not in adapted:
            set_trainable(layer, False)
    for layer in adapted:
        if not layer.lora_enabled:
            layer.enable_lora(rank)
            layer.lora_kernel_a.assign(_initial(layer))
    adapters = {id(variable) for layer in adapted for variable in (layer.lora_kernel_a, layer.lora_kernel_b)}
    for layer in chosen:  # biases, and variables that a layer of layers has itself
        for variable in layer.trainable_weights:
            variable.trainable = id(variable) in adapters
    for layer in head_layers(model):
        set_trainable(layer, True)
    return count(model)


def merge(model: keras.Model) -> None:
    """Add every adapter to its kernel, and remove it."""
    for layer in _adapted(model):
        kernel_variable(layer).assign(_merged(layer))
        remove_adapter(layer)
        set_trainable(layer, True)  # which the kernel has not been since


@contextmanager
def merged(model: keras.Model) -> Iterator[None]:
    """Have the model, inside the block, layers without adapters that compute the same; afterwards it is as before, to the bit."""
    found = [(layer, np.array(keras.ops.convert_to_numpy(kernel_variable(layer)))) for layer in _adapted(model)]
    settings = [(layer.lora_rank, layer.lora_alpha) for layer, _ in found]
    try:
        for layer, _ in found:
            kernel_variable(layer).assign(_merged(layer))
            layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
        yield
    finally:
        for (layer, kernel), (rank, alpha) in zip(found, settings):
            kernel_variable(layer).assign(kernel)
            layer.lora_enabled, layer.lora_rank, layer.lora_alpha = True, rank, alpha


def merged_weights(model: keras.Model) -> list[np.ndarray]:
    """Return the weights that the model has after :func:`merge`."""
    layers = _adapted(model)
    if not layers:
        return list(model.get_weights())
    adapters = {id(variable) for layer in layers for variable in (layer.lora_kernel_a, layer.lora_kernel_b)}
    with merged(model):
        return [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights if id(weight) not in adapters]


def _adapted(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in all_layers(model) if isinstance(layer, _ADAPTABLE) and layer.lora_enabled]


def _is_adaptable(layer: keras.layers.Layer, rank: int) -> bool:
    if not isinstance(layer, _ADAPTABLE) or layer.quantization_mode is not None or layer.kernel_constraint is not None:
        return False
    shape = kernel_variable(layer).shape
    return len(shape) > 1 and min(int(np.prod(shape[:-1])), shape[-1]) > rank


def _initial(layer: keras.layers.Layer) -> np.ndarray:
    """Return He et al.'s uniform values (2015, https://arxiv.org/abs/1502.01852) for the first matrix, from the layer's name."""
    shape = layer.lora_kernel_a.shape
    limit = (6 / int(np.prod(shape[:-1]))) ** 0.5
    return np.random.default_rng(zlib.crc32(layer.name.encode())).uniform(-limit, limit, shape).astype(np.float32)


def _merged(layer: keras.layers.Layer) -> np.ndarray:
    kernel, first, second = (
        np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
        for variable in (kernel_variable(layer), layer.lora_kernel_a, layer.lora_kernel_b)
    )
    return np.asarray(kernel + np.float32(layer.lora_alpha / layer.lora_rank) * (first @ second))
