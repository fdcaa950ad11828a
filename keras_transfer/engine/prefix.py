"""Find the frozen prefix of a model, which every step would compute again, and cut it off.

A tensor is *fixed* if nothing that it is computed from can change during a phase: no trainable weight, no
BatchNormalization that updates its statistics, nothing random. The cut is the last fixed tensor that every path from input to
output goes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.keras_compat import all_layers, graph_nodes, has_graph


@dataclass(frozen=True)
class Cut:
    """A model in two halves that share its layers.

    Attributes:
        prefix: input to cut; all frozen and deterministic.
        suffix: cut to output; everything that trains.
        name: name of the layer whose output is the cut.
        shape: shape of one sample at the cut.
    """

    prefix: keras.Model
    suffix: keras.Model
    name: str
    shape: tuple[int, ...]


def find_cut(model: keras.Model) -> Cut | None:
    """Cut a functional model at the last fixed tensor that separates its input from its output.

    Args:
        model: a built functional model with one input and one output, with ``trainable`` set for the phase.

    Returns:
        The two halves, or ``None`` if there is no such tensor, or only one that no weights contribute to.
    """
    if not isinstance(model, keras.Model) or not has_graph(model):
        return None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return None
    found = None
    fixed: set[int] = {id(model.inputs[0])}
    waiting: dict[int, int] = {}  # tensors that are computed but not yet read by all their readers -> reads left
    uses = _uses(model)
    computed = False
    for node in graph_nodes(model):
        inputs = list(node.input_tensors)
        for tensor in inputs:
            waiting[id(tensor)] = waiting.get(id(tensor), uses[id(tensor)]) - 1
            if waiting[id(tensor)] == 0:
                del waiting[id(tensor)]
        still = all(id(tensor) in fixed for tensor in inputs) and not _changes(node.operation)
        for tensor in node.outputs:
            if still:
                fixed.add(id(tensor))
            if uses.get(id(tensor)):
                waiting[id(tensor)] = uses[id(tensor)]
        computed |= bool(getattr(node.operation, "weights", None))
        if still and computed and len(node.outputs) == 1 and set(waiting) == {id(node.outputs[0])}:
            found = node.outputs[0], node.operation.name
    if found is None:
        return None
    tensor, name = found
    return Cut(
        prefix=keras.Model(model.inputs[0], tensor),
        suffix=keras.Model(tensor, model.outputs[0]),
        name=name,
        shape=tuple(int(size) for size in tensor.shape[1:]),
    )


def cut_below(model: keras.Model, name: str) -> Cut | None:
    """Cut a functional model at the input of its last layer, or of the dropout before that, which does nothing in prediction.

    Args:
        model: a built functional model with one input and one output.
        name: name of the last layer.

    Returns:
        The two halves, of which the second is the last layer alone; ``None`` if the model does not end with that layer.
    """
    if not isinstance(model, keras.Model) or not has_graph(model):
        return None
    made = {id(tensor): node for node in graph_nodes(model) for tensor in node.outputs}
    last = made.get(id(model.outputs[0]))
    if last is None or last.operation.name != name or len(model.inputs) != 1:
        return None
    tensor = last.input_tensors[0]
    while id(tensor) in made and isinstance(made[id(tensor)].operation, keras.layers.Dropout):
        tensor = made[id(tensor)].input_tensors[0]
    if id(tensor) not in made:
        return None
    features = keras.Input(tensor.shape[1:], dtype=tensor.dtype)
    return Cut(
        prefix=keras.Model(model.inputs[0], tensor),
        suffix=keras.Model(features, last.operation(features)),
        name=made[id(tensor)].operation.name,
        shape=tuple(int(size) for size in tensor.shape[1:]),
    )


def _uses(model: Any) -> dict[int, int]:
    counts: dict[int, int] = {}
    for node in graph_nodes(model):
        for tensor in node.input_tensors:
            counts[id(tensor)] = counts.get(id(tensor), 0) + 1
    return counts


def _changes(operation: Any) -> bool:
    """Return whether an operation can give another result for the same input later in the phase."""
    if getattr(operation, "trainable_variables", None):
        return True
    layers = all_layers(operation) if isinstance(operation, keras.layers.Layer) else []
    return any(_is_random(layer) or _has_statistics(layer) for layer in layers)


def _is_random(layer: Any) -> bool:
    # Dropout, noise and random augmentation layers all own a seed generator.
    random = getattr(layer, "seed_generator", None) is not None or type(layer).__name__.startswith("Random")
    return random and getattr(layer, "rate", 1.0) != 0


def _has_statistics(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
