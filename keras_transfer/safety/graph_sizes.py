"""Judge how much memory a model will take, from its configuration, before anything of it is built.

A few hundred bytes can describe layers of any size. What cannot be judged counts as too much: a layer without a rule, a
setting that is missing or of another type, objects where only numbers belong.
"""

from __future__ import annotations

import math
import os
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np

from keras_transfer.safety import Refused
from keras_transfer.safety.hub_sizes import size_of
from keras_transfer.safety.layer_sizes import LAYERS, OPERATIONS, SAME, NotJudged, Shape, Size, sliced

MAX_TENSOR = 1 << 28
"""Elements of one tensor for one image: 1 GiB of float32."""
MAX_TOTAL = 1 << 27
"""Elements of all tensors together: Keras keeps them until the last layer. Files with many weights may have more:"""
PER_WEIGHT = 256
"""Elements for each weight in the file: networks have 2 to 20 at their usual sizes, and more for larger images."""
MAX_CALLS = 20_000
"""Calls of layers, also within nested models: NASNet-Large has 1,000."""

NONSENSE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, MemoryError)
"""What settings of another type make of arithmetic; memory runs out where a long text is multiplied by a large number."""

_MODELS = ("Functional", "Model", "Sequential")
_SETTINGS = ("keras.initializers", "keras.regularizers", "keras.constraints", "keras", "builtins", "keras.activations")
Outputs = list[Shape | None]


def judge(
    config: Mapping[str, Any],
    path: str | os.PathLike[str],
    image: tuple[int, int, int] | None,
    weights: int,
    custom: Container[str] = (),
) -> dict[str, list[Shape | None]]:
    """Refuse a model whose tensors would be too large.

    Args:
        config: a checked configuration; see ``config.check_config``.
        path: the file it came from, for errors.
        image: height, width and channels of the images that the model is for, which replace unknown sides; None: 1.
        weights: elements of the weights in the file.
        custom: classes that the caller allows. What comes behind such a layer is not known here.

    Returns:
        The name of each layer → the shape of the output of each of its calls, with a batch of 1; None is unknown.

    Raises:
        Refused: a tensor, or all together, are too large; or something cannot be judged.
    """
    walk = _Walk(path, image or (1, 1, 1), max(MAX_TOTAL, PER_WEIGHT * weights), custom)
    walk.model(config, None)
    return walk.found


class _Walk:
    def __init__(self, path: Any, image: tuple[int, int, int], limit: int, custom: Container[str]):
        self.path, self.image, self.limit, self.custom = path, image, limit, custom
        self.total = self.calls = 0
        self.found: dict[str, Outputs] = {}

    def refuse(self, name: Any, reason: str) -> Refused:
        return Refused(self.path, f"layer {str(name)[:100]!r}: {reason}")

    def model(self, node: Mapping[str, Any], inputs: Outputs | None) -> Outputs:
        """Judge a model, and return the shapes of its outputs."""
        config = node.get("config")
        try:
            if not isinstance(config, dict) or node.get("class_name") not in _MODELS:
                raise NotJudged("not a model that is described layer by layer")
            if node["class_name"] == "Sequential":
                return self.sequential(config, inputs)
            return self.functional(config, inputs)
        except NONSENSE as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise self.refuse(node.get("name") or "model", f"its size cannot be judged: {reason[:200]}") from None

    def sequential(self, config: Mapping[str, Any], inputs: Outputs | None) -> Outputs:
        current = inputs
        for layer in config["layers"]:
            if layer["class_name"] == "InputLayer":
                current = [self.input(layer["config"])] if inputs is None else inputs
                continue
            if not current:
                raise NotJudged("a Sequential model without an input shape")
            current = self.call(layer, list(current), [], [])
            self.found.setdefault(str(layer["config"].get("name")), []).extend(current)
        return current or []

    def functional(self, config: Mapping[str, Any], inputs: Outputs | None) -> Outputs:
        layers = {layer["name"]: layer for layer in config["layers"]}
        if len(layers) < len(config["layers"]):
            raise NotJudged("two layers have the same name")
        shapes: dict[tuple[str, int, int], Shape | None] = {}
        starts = _keys(config["input_layers"])
        if inputs is not None and len(inputs) != len(starts):
            raise NotJudged(f"{len(inputs)} inputs for a model that takes {len(starts)}")
        for i, (name, _, _) in enumerate(starts):
            shapes[name, 0, 0] = self.input(layers[name]["config"]) if inputs is None else inputs[i]
        waiting = [(name, k, call) for name, layer in layers.items() for k, call in enumerate(layer["inbound_nodes"])]
        claims = _claims(call for _, _, call in waiting)
        while waiting:
            left = []
            for name, k, call in waiting:
                needed = [_history(tensor) for tensor in _tensors(call)]
                if not all(key in shapes for key in needed):
                    left.append((name, k, call))
                    continue
                made = self.call(layers[name], [shapes[key] for key in needed], [call], claims.get((name, k), []))
                self.found.setdefault(name, []).extend(made)
                shapes.update({(name, k, place): shape for place, shape in enumerate(made)})
            if len(left) == len(waiting):
                raise NotJudged(f"the inputs of {left[0][0]!r} are not made by any layer")
            waiting = left
        return [shapes[key] for key in _keys(config["output_layers"])]

    def input(self, config: Mapping[str, Any]) -> Shape:
        if config.get("sparse") or config.get("ragged"):
            raise NotJudged("sparse or ragged inputs")
        given = config["batch_shape"]
        # Unknown sides are those of the images that the file says it is for.
        sides = (1, *self.image) if len(given) == 4 else (1,) * len(given)
        shape = tuple(max(1, unknown) if side is None else side for side, unknown in zip(given, sides))
        self.charge(config.get("name"), Size(shape))
        return shape

    def call(self, layer: Mapping[str, Any], inputs: Outputs, arguments: list[Any], claimed: list[Shape]) -> Outputs:
        self.calls += 1
        name, kind, module = layer["config"].get("name"), layer["class_name"], layer.get("module") or ""
        if self.calls > MAX_CALLS:
            raise self.refuse(name, f"the model has more than {MAX_CALLS} calls of layers")
        if kind in _MODELS and module.startswith("keras") and not module.startswith("keras_hub"):
            return self.model(layer, inputs)
        if not inputs:
            raise self.refuse(name, "its size cannot be judged: it has no inputs")
        if (layer.get("registered_name") or kind) in self.custom or None in inputs:
            return [None] * max(1, len(claimed))  # the caller's own layer, or what comes behind one
        try:
            size = self.size(layer, [shape for shape in inputs if shape is not None], arguments, claimed)
        except NONSENSE as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise self.refuse(name, f"its size cannot be judged: {reason[:200]}") from None
        self.charge(name, size)
        return [size.shape, *claimed[1:]]

    def size(self, layer: Mapping[str, Any], inputs: list[Shape], arguments: list[Any], claimed: list[Shape]) -> Size:
        kind, module, config = layer["class_name"], layer["module"], layer["config"]
        if module.startswith("keras_hub."):
            return size_of(config, inputs, [_filled(shape, inputs[0]) for shape in claimed])
        _check_settings(config, self.custom)
        if not module.startswith("keras.src.ops."):
            _check_arguments(arguments)
            return LAYERS[kind](config, inputs)
        if kind == "GetItem":
            return Size(sliced(inputs[0], arguments[0]["args"][1]))
        constants = [_constant(value) for call in arguments for value in call["args"] if kind != "Reshape"]
        return OPERATIONS[kind](config, [*inputs, *(shape for shape in constants if shape is not None)])

    def charge(self, name: Any, size: Size) -> None:
        if any(type(side) is not int for side in size.shape) or type(size.inside) is not int:
            raise self.refuse(name, f"its size cannot be judged: {str(size.shape)[:200]} is not a shape")
        made = math.prod(size.shape)
        self.total += made + size.inside
        if max(made, size.inside) > MAX_TENSOR:
            raise self.refuse(name, f"makes tensors of {max(made, size.inside)} numbers, too large to compute")
        if self.total > self.limit:
            raise self.refuse(
                name, f"makes the model's tensors more than {self.limit} numbers, too many for its weights"
            )


def _check_settings(config: Mapping[str, Any], custom: Container[str]) -> None:
    """Raise NotJudged if a setting is itself a layer, such as an activation that enlarges images."""
    stack: list[Any] = list(config.values())
    while stack:
        value = stack.pop()
        if isinstance(value, dict) and isinstance(value.get("class_name"), str):
            module, kind = value.get("module") or "", value["class_name"]
            simple = kind == "function" or module in _SETTINGS or (value.get("registered_name") or kind) in custom
            if not simple and not (module == "keras.layers" and kind in SAME):
                raise NotJudged(f"a setting is an object of the class {kind[:60]}")
        stack += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_arguments(calls: list[Any]) -> None:
    """Raise NotJudged if a layer is called with anything but tensors and what Keras writes beside them."""
    for call in calls:
        stack: list[tuple[str, Any]] = [("", value) for value in call["args"]] + list(call["kwargs"].items())
        while stack:
            key, value = stack.pop()
            if isinstance(value, list):
                stack += [(key, part) for part in value]
            elif not (isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"):
                plain = value is None or value is False or (value is True and key in ("training", "use_causal_mask"))
                if not plain:
                    raise NotJudged(f"the argument {key} = {str(value)[:60]}")


def _keys(places: list[Any]) -> list[tuple[str, int, int]]:
    # Keras writes one input or output without an outer list.
    places = [places] if places and isinstance(places[0], str) else places
    return [(str(name), int(node), int(tensor)) for name, node, tensor in places]


def _tensors(call: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the tensors among the arguments of a call, in order."""
    stack = [call["kwargs"], call["args"]]
    while stack:
        value = stack.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            yield value["config"]
        elif isinstance(value, dict):
            stack += reversed(value.values())
        elif isinstance(value, list):
            stack += reversed(value)


def _history(tensor: Mapping[str, Any]) -> tuple[str, int, int]:
    name, node, place = tensor["keras_history"]
    return str(name), int(node), int(place)


def _claims(calls: Iterator[Any]) -> dict[tuple[str, int], list[Shape]]:
    """Return what the users of each call's outputs state about their shapes."""
    found: dict[tuple[str, int], dict[int, Shape]] = {}
    for call in calls:
        for tensor in _tensors(call):
            name, node, place = _history(tensor)
            found.setdefault((name, node), {})[place] = tuple(tensor["shape"])
    return {key: [by_place[k] for k in sorted(by_place)] for key, by_place in found.items()}


def _filled(shape: tuple[int | None, ...], like: Shape) -> Shape:
    fallback = (1, *like[1:]) if len(like) == len(shape) else (1,) * len(shape)
    return tuple(other if side is None else int(side) for side, other in zip(shape, fallback))


def _constant(value: Any) -> Shape | None:
    """Return the shape of a number or of nested lists of numbers among the arguments; None for a tensor."""
    if isinstance(value, list) and not any(isinstance(part, dict) for part in value):
        return np.shape(np.array(value, float))
    return () if isinstance(value, (int, float)) and not isinstance(value, bool) else None
