"""The second output of a classifier that rejects what is none of its classes, of Keras's own layers.

The model that this package works with has one output, the logits. Its file has a second one, ``novelty`` (b, 1): above 0, the image is
none of the classes. The layers hang on the same graph, where :func:`novelty_output` finds them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.keras_compat import consumers
from keras_transfer.solved.novelty import FROM, WEIGHT, Novelty

NOVELTY = "novelty"
FEATURES = "pool"
"""The layer whose output the residual is computed of: the pooled last feature map of the (first) backbone."""


def features_model(model: keras.Model) -> keras.Model:
    """Return the part of a classifier from images to the features that novelty is computed of, (b, d).

    Raises:
        UserError: the classifier has no such features.
    """
    layers = {layer.name: layer for layer in model.layers}
    if FEATURES not in layers or len(layers[FEATURES].output.shape) != 2:
        raise UserError("reject_rate needs a classifier with pooled features, as this package builds them")
    return keras.Model(model.input, layers[FEATURES].output)


def attach(model: keras.Model, novelty: Novelty) -> None:
    """Add the layers that compute ``novelty`` to the graph of a classifier; its own output stays the only one.

    All of them compute in float32.
    """
    count = int(model.output_shape[-1])
    axes, mean = novelty.subspace.axes, novelty.subspace.mean
    (energy, energy_spread), (residual, residual_spread) = novelty.energy, novelty.residual
    unit = _layer(keras.layers.UnitNormalization, "unit")(model.get_layer(FEATURES).output)
    projected = _layer(keras.layers.Dense, "axes", units=axes.shape[1])
    on_axes = projected(unit)
    squares = _layer(keras.layers.Multiply, "squares")([on_axes, on_axes])
    parts = _layer(keras.layers.Concatenate, "parts")([squares, unit])
    distance = _layer(keras.layers.Dense, "residual", units=1, activation="relu")
    far = distance(parts)
    logs = _layer(keras.layers.Activation, "logs", activation="log_softmax")(model.output)
    evidence = _layer(keras.layers.Concatenate, "evidence")([model.output, logs, far])
    score = keras.layers.Dense(1, name=NOVELTY, dtype="float32")
    score(evidence)
    _assign(projected, axes, -mean @ axes)
    kernel = np.concatenate([np.full(axes.shape[1], -1.0), -2 * mean]) / residual_spread
    _assign(distance, kernel[:, None], [(1 + mean @ mean - residual) / residual_spread - FROM])
    # Each logit minus its log-probability is log Σ exp; their mean is, too.
    share = 1 / (count * energy_spread)
    kernel = np.concatenate([np.full(count, -share), np.full(count, share), [WEIGHT]])
    _assign(score, kernel[:, None], [-energy / energy_spread - novelty.threshold])


def novelty_output(model: keras.Model) -> keras.KerasTensor | None:
    """Return the tensor (b, 1) that :func:`attach` added to the graph of a classifier last, or None."""
    found = None
    waiting, seen = [model.output], set()
    while waiting:
        tensor = waiting.pop()
        for node in consumers(tensor):
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.operation.name == NOVELTY:
                found = node.outputs[0]
            elif node.operation.name.startswith(f"{NOVELTY}_"):
                waiting += node.outputs
    return found


def with_novelty(model: keras.Model, metadata: Mapping[str, Any]) -> keras.Model:
    """Return the model with two outputs, logits and novelty, if its metadata say that it has both; else the model."""
    tensor = novelty_output(model) if metadata.get(NOVELTY) else None
    return model if tensor is None else keras.Model(model.input, [model.output, tensor], name=model.name)


def joined(model: keras.Model, metadata: Mapping[str, Any]) -> keras.Model:
    """Return a model whose one output is (b, C + 1), logits and novelty, if it has both; else the model; it may be joined already."""
    if not metadata.get(NOVELTY) or int(model.output_shape[-1]) != len(metadata["classes"]):
        return model
    both = with_novelty(model, metadata)
    if both is model:
        return model
    return keras.Model(model.input, keras.layers.Concatenate(dtype="float32")(both.outputs), name=model.name)


def main_part(model: keras.Model) -> keras.Model:
    """Return the classifier of a model of two outputs, which shares its layers."""
    return keras.Model(model.input, model.outputs[0], name=model.name) if len(model.outputs) == 2 else model


def is_novelty(model: keras.Model) -> bool:
    """Return whether a model's outputs are logits (b, C) and a novelty (b, 1) that is computed from them."""
    if len(model.outputs) != 2 or len(model.inputs) != 1:
        return False
    first, second = model.outputs
    made = novelty_output(main_part(model)) if len(first.shape) == 2 else None
    return made is not None and made is second and tuple(made.shape[1:]) == (1,)


def _layer(kind: type[keras.layers.Layer], name: str, **options: Any) -> keras.layers.Layer:
    return kind(name=f"{NOVELTY}_{name}", dtype="float32", **options)


def _assign(layer: keras.layers.Layer, kernel: Any, bias: Any) -> None:
    layer.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])
