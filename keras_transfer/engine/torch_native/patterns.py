"""Find the steps of a functional graph that can be fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.engine.torch_native import activation as activations
from keras_transfer.engine.torch_native.activation import HARD_SIGMOID, LINEAR, RELU, RELU6, SIGMOID, Activation
from keras_transfer.engine.torch_native.attention import AttentionUnit
from keras_transfer.engine.torch_native.convolution import Convolution
from keras_transfer.engine.torch_native.layers import installed
from keras_transfer.engine.torch_native.normalization import BatchNormalization
from keras_transfer.engine.torch_native.pooling import Pooling2D
from keras_transfer.engine.torch_native.units import (
    AddUnit,
    ConvolutionUnit,
    LayerUnit,
    NormalizationUnit,
    PaddedPoolUnit,
    Unit,
)
from keras_transfer.keras_compat import graph_nodes, plain_attention, recomputes

NEVER_NEGATIVE = (RELU, RELU6, SIGMOID, HARD_SIGMOID)


@dataclass
class Step:
    """Consecutive nodes of a graph that are computed together; ``unit`` is ``None`` for a node that runs stock."""

    nodes: list[Any]
    inputs: list[Any]
    unit: Unit | None = None


class Graph:
    """The nodes of a functional model in Keras's order, and the readers of each tensor."""

    def __init__(self, model: keras.Model):
        """Index the graph of ``model``."""
        self.nodes = graph_nodes(model)
        self.order = {id(node): i for i, node in enumerate(self.nodes)}
        self.producer = {id(t): node for node in self.nodes for t in node.outputs}
        self.readers: dict[int, list[Any]] = {}
        for node in self.nodes:
            for tensor in node.input_tensors:
                self.readers.setdefault(id(tensor), []).append(node)
        for tensor in model.outputs:
            self.readers.setdefault(id(tensor), []).append(None)  # read from outside

    def only_reader(self, node: Any) -> Any:
        """Return the one node that reads the output of ``node``, or ``None``."""
        readers = self.readers.get(id(node.outputs[0]), [])
        return readers[0] if len(node.outputs) == 1 and len(readers) == 1 else None

    def source(self, node: Any) -> Any:
        """Return the node that computes the first input of ``node``, or ``None``."""
        return self.producer.get(id(node.input_tensors[0]))


def _plain(node: Any, inputs: int = 1) -> bool:
    """Return whether the node calls a layer on that many tensors and needs nothing besides the call."""
    layer = node.operation
    if not isinstance(layer, keras.layers.Layer) or len(node.outputs) != 1 or len(node.input_tensors) != inputs:
        return False
    args, kwargs = node.arguments.args, node.arguments.kwargs
    if len(args) != 1 or any(key != "training" and value is not None for key, value in kwargs.items()):
        return False
    return layer.activity_regularizer is None and not recomputes(layer) and layer.autocast


def _activation(node: Any) -> Activation | None:
    return activations.from_layer(node.operation) if node is not None and _plain(node) else None


def _native(node: Any, kind: type) -> Any:
    if node is None or not _plain(node):
        return None
    operation = installed(node.operation)
    return operation if isinstance(operation, kind) else None


def _is_layer(node: Any, kind: type, inputs: int = 1) -> bool:
    return node is not None and type(node.operation) is kind and _plain(node, inputs)


class Planner:
    """Groups the nodes of a graph into steps; every node ends up in exactly one."""

    def __init__(self, graph: Graph):
        """Plan the whole graph."""
        self.graph = graph
        self.step_of: dict[int, Step] = {}
        for find in (
            self.convolutions,
            self.residuals,
            self.normalizations,
            self.sums,
            self.pools,
            self.attentions,
            self.rest,
        ):
            find()

    def steps(self) -> list[Step]:
        """Return the steps, ordered by their last nodes."""
        unique = {id(step): step for step in self.step_of.values()}
        return sorted(unique.values(), key=lambda step: self.graph.order[id(step.nodes[-1])])

    def _free(self, node: Any) -> bool:
        return node is not None and id(node) not in self.step_of

    def _add(self, nodes: list[Any], unit: Unit | None) -> Step:
        step = Step(nodes, list(nodes[0].input_tensors), unit)
        if unit is not None:
            unit.layers = [node.operation for node in nodes]
        for node in nodes:
            self.step_of[id(node)] = step
        return step

    def _append_activation(self, nodes: list[Any], unit: Unit) -> None:
        following = self.graph.only_reader(nodes[-1])
        found = _activation(following) if self._free(following) else None
        if found is not None and unit.activation is LINEAR:
            unit.activation = found
            nodes.append(following)

    def convolutions(self) -> None:
        """[ZeroPadding2D] + convolution + [BatchNormalization] + [activation]."""
        for node in self.graph.nodes:
            conv = _native(node, Convolution)
            if conv is None or conv.activation is None:
                continue
            unit, nodes = ConvolutionUnit(conv=conv, activation=conv.activation), [node]
            before = self.graph.source(node)
            if (
                conv.mode == "valid"
                and _is_layer(before, keras.layers.ZeroPadding2D)
                and before.operation.data_format == "channels_last"
                and self._free(before)
                and self.graph.only_reader(before) is node
            ):
                unit.extra = before.operation.padding
                nodes.insert(0, before)
            following = self.graph.only_reader(node)
            norm = _native(following, BatchNormalization) if self._free(following) else None
            if norm is not None and conv.activation is LINEAR:
                unit.norm = norm
                nodes.append(following)
            self._append_activation(nodes, unit)
            self._add(nodes, unit)

    def residuals(self) -> None:
        """Convolution step + Add + [activation]: the sum is computed in the later of the two convolutions."""
        for node in self.graph.nodes:
            if not _is_layer(node, keras.layers.Add, inputs=2) or not self._free(node):
                continue
            found = [self._summand(node, tensor) for tensor in node.input_tensors]
            candidates = [step for step in found if step is not None]
            if not candidates or node.input_tensors[0] is node.input_tensors[1]:
                continue
            step = max(candidates, key=lambda step: self.graph.order[id(step.nodes[-1])])
            other = next(t for t in node.input_tensors if t is not step.nodes[-1].outputs[0])
            unit = step.unit
            assert isinstance(unit, ConvolutionUnit)
            nodes = [*step.nodes, node]
            unit.residual = True
            self._append_activation(nodes, unit)
            self._add(nodes, unit).inputs.append(other)

    def _summand(self, add: Any, tensor: Any) -> Step | None:
        """Return the convolution step that ends in ``tensor`` if the sum may be computed inside it."""
        producer = self.graph.producer.get(id(tensor))
        step = self.step_of.get(id(producer)) if producer is not None else None
        if step is None or step.nodes[-1] is not producer or self.graph.only_reader(producer) is not add:
            return None
        unit = step.unit
        fits = isinstance(unit, ConvolutionUnit) and not unit.residual and unit.activation is LINEAR
        return step if fits else None

    def normalizations(self) -> None:
        """BatchNormalization + [activation], where no convolution precedes."""
        for node in self.graph.nodes:
            norm = _native(node, BatchNormalization)
            if norm is not None and self._free(node):
                unit, nodes = NormalizationUnit(operation=norm), [node]
                self._append_activation(nodes, unit)
                self._add(nodes, unit)

    def sums(self) -> None:
        """Add + activation."""
        for node in self.graph.nodes:
            count = len(node.input_tensors)
            if count >= 2 and _is_layer(node, keras.layers.Add, inputs=count) and self._free(node):
                unit, nodes = AddUnit(), [node]
                self._append_activation(nodes, unit)
                self._add(nodes, unit)

    def pools(self) -> None:
        """ZeroPadding2D + MaxPooling2D of values that are never negative; every other native layer by itself."""
        for node in self.graph.nodes:
            pool = _native(node, Pooling2D)
            if pool is None or not self._free(node):
                continue
            before = self.graph.source(node)
            if self._foldable(before, node, pool):
                self._add([before, node], PaddedPoolUnit(operation=pool, padding=before.operation.padding))
            else:
                self._add([node], LayerUnit(operation=pool))

    def _foldable(self, before: Any, node: Any, pool: Pooling2D) -> bool:
        if not (self._free(before) and _is_layer(before, keras.layers.ZeroPadding2D) and pool.max):
            return False
        if before.operation.data_format != "channels_last" or self.graph.only_reader(before) is not node:
            return False
        source = self.graph.source(before)
        step = self.step_of.get(id(source)) if source is not None else None
        if step is None or step.unit is None or step.nodes[-1] is not source:
            return False
        symmetric = all(a == b and a <= k // 2 for (a, b), k in zip(before.operation.padding, pool.window))
        return symmetric and pool.layer.padding == "valid" and step.unit.activation in NEVER_NEGATIVE

    def attentions(self) -> None:
        """Attention with or without a bias."""
        for node in self.graph.nodes:
            scale = plain_attention(node)
            if scale is not None:
                self._add([node], AttentionUnit(scale=scale))

    def rest(self) -> None:
        """All other nodes run stock."""
        for node in self.graph.nodes:
            if self._free(node):
                self._add([node], None)
