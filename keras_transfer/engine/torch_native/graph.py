"""Run a functional graph as a list of fused steps, in the place of ``Functional.call``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras.src import tree
from keras.src.backend.common.masking import get_keras_mask
from keras.src.models.functional import Functional

from keras_transfer.engine.torch_native.patterns import Graph, Planner, Step
from keras_transfer.engine.torch_native.tensors import is_real


class GraphCall:
    """Stands in for ``model.call`` of one functional model.

    Every step that is not fused, and every call that is out of the ordinary (symbolic tensors, masks, a
    stateless scope, extra arguments), goes the way Keras goes. Tensors are dropped after their last reader.
    """

    def __init__(self, model: keras.Model):
        """Plan the steps."""
        self.model = model
        self.stock = type(model).call.__get__(model)
        self.steps = Planner(Graph(model)).steps()
        self._dead = self._last_uses()

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
        if mask is not None or kwargs or not all(is_real(x, None) and get_keras_mask(x) is None for x in flat):
            return self.stock(inputs, training=training, mask=mask, **kwargs)
        model = self.model
        values = {id(x): y for x, y in zip(model.inputs, model._standardize_inputs(inputs))}
        del inputs, flat
        for step, dead in zip(self.steps, self._dead):
            self._run(step, values, training)
            for tensor in dead:
                values.pop(tensor, None)
        outputs = tree.pack_sequence_as(model._outputs_struct, [values[id(t)] for t in model.outputs])
        return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs

    def _run(self, step: Step, values: dict[int, Any], training: bool | None) -> None:
        if step.unit is not None:
            inputs = [values[id(t)] for t in step.inputs]
            if step.unit.ready(inputs):
                values[id(step.nodes[-1].outputs[0])] = step.unit(inputs, self._training(step, training))
                return
        for node in step.nodes:
            args, kwargs = node.arguments.fill_in(values)
            if training is not None and "training" in getattr(node.operation, "_call_context_args", ()):
                kwargs["training"] = training
            outputs = node.operation(*args, **kwargs)
            values.update((id(t), y) for t, y in zip(node.outputs, tree.flatten(outputs)))

    @staticmethod
    def _training(step: Step, training: bool | None) -> bool | None:
        """Return the mode of a step: the model's, or else what the graph was built with."""
        if training is not None:
            return training
        for node in step.nodes:
            if node.arguments.kwargs.get("training") is not None:
                return node.arguments.kwargs["training"]
        return None


def install_graph(layer: keras.layers.Layer) -> Counter[str]:
    """Replace the graph execution of ``layer`` if it is a plain functional model; return its fused patterns."""
    if not isinstance(layer, Functional) or type(layer).call is not Functional.call:
        return Counter()
    present = layer.__dict__.get("call")
    if present is not None and not isinstance(present, GraphCall):
        return Counter()
    masked = any(
        get_keras_mask(t) is not None for nodes in layer._nodes_by_depth.values() for n in nodes for t in n.outputs
    )
    if masked or any(
        t._keras_history.operation.optional for t in layer.inputs if hasattr(t._keras_history.operation, "optional")
    ):
        return Counter()
    layer.__dict__["call"] = call = GraphCall(layer)
    return call.fused()


def remove_graph(layer: keras.layers.Layer) -> bool:
    """Give ``layer`` its stock graph execution back; return whether it had a fused one."""
    if not isinstance(layer.__dict__.get("call"), GraphCall):
        return False
    del layer.__dict__["call"]
    return True
