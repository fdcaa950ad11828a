"""Rebuild a backbone's graph on another input: flat, with stable names, of layers that Keras exports.

``keras.models.clone_model`` keeps nested models, names that depend on what the process built before, bare operations and
private classes of ``keras.applications``. :func:`graft` builds one flat graph of public layers whose names are the same in every
process.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_transfer.keras_compat import snake_case
from keras_transfer.models.initial import without_drawing
from keras_transfer.models.layer_names import is_reserved

Weights = list[np.ndarray]


@dataclass(frozen=True)
class Swap:
    """The replacement of a layer.

    Attributes:
        make: given a name, returns the new layer; None: the layer, which must have one input, is removed.
        convert: maps the weights of the old layer to those of the new one.
        padding: rows and columns of zeros added around its input by a ``ZeroPadding2D`` layer.
    """

    make: Callable[[str], keras.layers.Layer] | None
    convert: Callable[[Weights], Weights] = lambda weights: weights
    padding: int = 0


def graft(
    model: keras.Model,
    inputs: keras.KerasTensor,
    *,
    prepare: Callable[[keras.KerasTensor], keras.KerasTensor] = lambda x: x,
    swaps: Mapping[int, Swap] = MappingProxyType({}),
    seed: int = 0,
    suffix: str = "",
) -> Any:
    """Apply fresh copies of ``model``'s layers, with its weights, to ``inputs``; return the output tensor.

    Args:
        model: a functional model of one input; it is not changed.
        inputs: a ``keras.Input`` that replaces the model's input.
        prepare: applies layers between ``inputs`` and the copies.
        swaps: ``id(layer)`` → its replacement.
        seed: seed of random layers (dropout) that have none of their own.
        suffix: added to the names of the layers, so that one graph can hold several models.
    """
    names = {key: f"{name}_" if is_reserved(name) else name for key, name in stable_names(model).items()}
    copies = _Copies({key: name + suffix for key, name in names.items()}, seed)
    prepared = prepare(inputs)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(lambda a: prepared if a is inputs else a, (args, kwargs))
        if id(operation) in swaps:
            return copies.swap(operation, swaps[id(operation)], args, kwargs)
        return copies.apply(operation, args, kwargs)

    with without_drawing():  # every copy gets the weights of its original
        return keras.models.clone_model(
            model, input_tensors=inputs, clone_function=lambda operation: operation, call_function=call
        ).output


def like(layer: keras.layers.Layer, **changes: Any) -> Callable[[str], keras.layers.Layer]:
    """Return a function of a name that makes a layer with the configuration of ``layer`` and ``changes``."""
    return lambda name: type(layer).from_config({**layer.get_config(), **changes, "name": name})


def flat_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer in graph order; nested models are entered, layers with sublayers are not."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


def stable_names(model: keras.Model) -> dict[int, str]:
    """Map ``id(operation)`` to a name that does not depend on what was built before.

    Keras names a layer without a name by its class and a number that counts up in the process (``conv2d_98``). Here numbers
    count from the first of the model, as in a new process (number 0 is left out: ``conv2d``).
    """
    running = [(op, *found) for op in model.operations if (found := _running_number(op)) is not None]
    first: dict[str, int] = {}
    for _, prefix, number in running:
        first[prefix] = min(number, first.get(prefix, number))
    names = {id(op): op.name for op in model.operations}
    for op, prefix, number in running:
        names[id(op)] = prefix if number == first[prefix] else f"{prefix}_{number - first[prefix]}"
    return names


def _running_number(operation: Any) -> tuple[str, int] | None:
    prefix = snake_case(type(operation).__name__)
    found = re.fullmatch(rf"{prefix}(?:_(\d+))?", operation.name)
    return (prefix, int(found[1] or 0)) if found else None


class _Copies:
    """The new layers, one for each original, so that a shared layer stays shared."""

    def __init__(self, names: dict[int, str], seed: int):
        self.names, self.seed = names, seed
        self.made: dict[int, keras.layers.Layer] = {}

    def apply(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(operation, keras.Sequential):
            x = args[0]
            for layer in operation.layers:
                x = self.apply(layer, (x,), {})
            return x
        name = self.names.get(id(operation), operation.name)
        if not isinstance(operation, keras.layers.Layer):
            return _operation(operation, name, args, kwargs)
        kind = type(operation).__name__
        if kind == "CustomScaleLayer":
            return _scaled_sum(operation, name, args[0])
        if kind == "LayerScale":
            return self._call(operation, lambda: _channel_scale(name), args, {}, lambda w: [w[0].reshape(1, 1, -1, 1)])
        kwargs = {key: value for key, value in kwargs.items() if key != "training" or value is not None}
        return self._call(operation, lambda: self._clone(operation, name), args, kwargs)

    def swap(self, old: keras.layers.Layer, new: Swap, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        make, name = new.make, self.names.get(id(old), old.name)
        if new.padding:
            args = (keras.layers.ZeroPadding2D(new.padding, name=f"{name}_pad")(args[0]), *args[1:])
        return args[0] if make is None else self._call(old, lambda: make(name), args, kwargs, new.convert)

    def _call(
        self,
        old: keras.layers.Layer,
        make: Callable[[], keras.layers.Layer],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        convert: Callable[[Weights], Weights] = lambda weights: weights,
    ) -> Any:
        if id(old) in self.made:
            return self.made[id(old)](*args, **kwargs)
        new = self.made[id(old)] = make()
        outputs = new(*args, **kwargs)
        if old.weights:
            new.set_weights(convert(old.get_weights()))
        return outputs

    def _clone(self, layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
        config = layer.get_config()
        config["name"] = name
        if config.get("seed", 0) is None:
            config["seed"] = zlib.crc32(name.encode(), self.seed) % 2**31
        return type(layer).from_config(config)


def _operation(operation: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Replace a bare addition or multiplication by a layer; apply other operations unchanged."""
    kind = type(operation).__name__
    tensors = [a for a in args if isinstance(a, keras.KerasTensor)]
    numbers = [a for a in args if isinstance(a, (int, float))]
    if kind in ("Add", "Multiply") and not kwargs:
        if len(tensors) == 2:
            return getattr(keras.layers, kind)(name=name)(tensors)
        if len(tensors) == len(numbers) == 1:
            scale, offset = (1.0, float(numbers[0])) if kind == "Add" else (float(numbers[0]), 0.0)
            return keras.layers.Rescaling(scale, offset, name=name)(tensors[0])
    return operation(*args, **kwargs)


def _scaled_sum(layer: Any, name: str, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Return Inception-ResNet's ``x + scale * residual``; Keras does not export its class."""
    scaled = keras.layers.Rescaling(layer.scale, name=f"{name}_scale")(inputs[1])
    return keras.layers.Add(name=f"{name}_add")([inputs[0], scaled])


def _channel_scale(name: str) -> keras.layers.Layer:
    """Return ConvNeXt's learned factor per channel as a 1x1 depthwise convolution; Keras does not export its class."""
    return keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer="ones", name=name)
