"""Run a functional graph as a list of fused steps instead of ``Functional.call``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras import tree

from keras_transfer.engine.torch_native.patterns import Graph, Planner, Step
from keras_transfer.engine.torch_native.tensors import is_real
from keras_transfer.keras_compat import (
    graph_tensors,
    input_standardizer,
    output_structure,
    producer,
    replace_method,
    replaced_method,
    restore_method,
    takes_training,
)
from keras_transfer.keras_compat.torch import Functional, get_mask


class GraphCall:
    """Replaces ``model.call`` of one functional model.

    A node outside the fused steps is computed by Keras, and so is the whole model for symbolic tensors, masks, a stateless
    scope or extra arguments. A tensor is freed after its last reader.
    """

    def __init__(self, model: keras.Model):
        """Plan the steps."""
        self.model = model
        self.stock = type(model).call.__get__(model)
        self.steps = Planner(Graph(model)).steps()
        self._dead = self._last_uses()
        self._standardize, self._structure = input_standardizer(model), output_structure(model)
        nodes = [node for step in self.steps for node in step.nodes]
        self._take_training = {id(node) for node in nodes if takes_training(node.operation)}

    def _last_uses(self) -> list[list[int]]:
        """Return, for each step, the ids of the tensors that no later step and no output reads."""
        kept = {id(t) for t in self.model.outputs}
        last: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            for node in step.nodes:
                last.update((id(t), i) for t in [*node.input_tensors, *node.outputs])
        dead: list[list[int]] = [[] for _ in self.steps]
        for tensor, i in last.items():
            if tensor not in kept:
                dead[i].append(tensor)
        return dead

    def fused(self) -> Counter[str]:
        """Count the steps that compute more than one layer, by pattern."""
        return Counter(s.unit.name for s in self.steps if s.unit is not None and len(s.nodes) > 1)

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the model as ``Functional.call`` does."""
        flat = tree.flatten(inputs)
        masked = any(one is not None for one in tree.flatten(mask))  # several inputs come with a list of them
        if masked or kwargs or not all(is_real(x, None) and get_mask(x) is None for x in flat):
            return self.stock(inputs, training=training, mask=mask, **kwargs)
        model = self.model
        values = {id(x): y for x, y in zip(model.inputs, self._standardize(inputs))}
        del inputs, flat
        for step, dead in zip(self.steps, self._dead):
            self._run(step, values, training)
            for tensor in dead:
                values.pop(tensor, None)
        outputs = tree.pack_sequence_as(self._structure, [values[id(t)] for t in model.outputs])
        return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs

    def _run(self, step: Step, values: dict[int, Any], training: bool | None) -> None:
        if step.unit is not None:
            inputs = [values[id(t)] for t in step.inputs]
            if step.unit.ready(inputs):
                values[id(step.nodes[-1].outputs[0])] = step.unit(inputs, self._training(step, training))
                return
        for node in step.nodes:
            args, kwargs = node.arguments.fill_in(values)
            if training is not None and id(node) in self._take_training:
                kwargs["training"] = training
            outputs = node.operation(*args, **kwargs)
            values.update((id(t), y) for t, y in zip(node.outputs, tree.flatten(outputs)))

    @staticmethod
    def _training(step: Step, training: bool | None) -> bool | None:
        """Return ``training`` for a step: of this call, or else as the graph was built."""
        if training is not None:
            return training
        for node in step.nodes:
            if node.arguments.kwargs.get("training") is not None:
                return node.arguments.kwargs["training"]
        return None


def install_graph(layer: keras.layers.Layer) -> Counter[str]:
    """Replace ``layer.call`` if it is a plain functional model without masks; count its fused patterns."""
    if not isinstance(layer, Functional) or type(layer).call is not Functional.call:
        return Counter()
    if not isinstance(replaced_method(layer, "call"), GraphCall | None):
        return Counter()
    masked = any(get_mask(tensor) is not None for tensor in graph_tensors(layer))
    if masked or any(getattr(producer(tensor), "optional", False) for tensor in layer.inputs):
        return Counter()
    call = GraphCall(layer)
    replace_method(layer, "call", call)
    return call.fused()


def remove_graph(layer: keras.layers.Layer) -> bool:
    """Give ``layer`` its stock ``call`` back; return whether it had a fused one."""
    if not isinstance(replaced_method(layer, "call"), GraphCall):
        return False
    restore_method(layer, "call")
    return True
