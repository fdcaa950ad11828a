"""A network of PyTorch as a list of steps, traced with ``torch.export``; what does not depend on the image is computed at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keras_transfer.models.checkpoints.traced.value import BATCH

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the image.

    Attributes:
        tensor: its values.
        name: of the parameter that it is or was computed from; ``""``: of none, and it is not trained.
    """

    tensor: torch.Tensor
    name: str = ""


@dataclass(frozen=True)
class Step:
    """An operation on what depends on the image.

    Attributes:
        operation: as ATen names it, without its overload: ``conv2d``.
        args, kwargs: its arguments, with :class:`Node` for results of earlier steps and :class:`Constant` for constants.
        node: the name of its result.
        module: path of the module that it is part of.
        shape: of the result, with :data:`.value.BATCH` images; None: several tensors.
    """

    operation: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    node: str
    module: str
    shape: tuple[int, ...] | None = field(default=None)


@dataclass(frozen=True)
class Node:
    """The result of an earlier step, by name."""

    name: str


@dataclass(frozen=True)
class Program:
    """The steps of a network, the name of its input and of its result."""

    steps: list[Step]
    image: str
    result: str


def trace(network: torch.nn.Module, size: tuple[int, int]) -> Program:
    """Trace a network in inference mode, for images of one size."""
    import torch

    images = torch.zeros((BATCH, 3, *size))
    with torch.no_grad():
        exported = torch.export.export(network.eval(), (images,), strict=False)
        return _Folding(exported).program()


class _Folding:
    """Goes through the graph of an exported network and computes what does not depend on the image."""

    def __init__(self, exported: torch.export.ExportedProgram):
        self.graph = exported.graph
        signature = exported.graph_signature
        self.image = signature.user_inputs[0]
        self.values: dict[str, Any] = {}
        own = {**exported.state_dict, **exported.constants}
        for name, key in signature.inputs_to_parameters.items():
            self.values[name] = Constant(own[key].detach(), key)
        for name, key in {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}.items():
            self.values[name] = Constant(own[key].detach())

    def program(self) -> Program:
        steps, results = self._steps(self.graph)
        return Program(_needed(steps, results[0].name), self.image, results[0].name)

    def _steps(self, graph: torch.fx.Graph) -> tuple[list[Step], Any]:
        """Return the steps of a graph, those of graphs within it included, and its results."""
        steps: list[Step] = []
        results = None
        for node in graph.nodes:
            if node.op == "output":
                results = self._argument(node.args[0])
            elif node.op == "get_attr":
                self.values[node.name] = getattr(graph.owning_module, node.target)
            elif node.op == "call_function" and "wrap_with" in str(
                node.target
            ):  # a part under other settings, such as autocast
                inner = next(arg for arg in map(self._argument, node.args) if hasattr(arg, "graph"))
                given = self._argument(node.args)
                given = given[given.index(inner) + 1 :]
                for place, value in zip((one for one in inner.graph.nodes if one.op == "placeholder"), given):
                    self.values[place.name] = value
                more, found = self._steps(inner.graph)
                steps += more
                self.values[node.name] = found
            elif node.op == "call_function":
                step = self._step(node)
                if step is not None:
                    steps.append(step)
        return steps, results

    def _step(self, node: torch.fx.Node) -> Step | None:
        """Return the step of a node, or None if it was computed at once."""
        args, kwargs = self._argument(node.args), self._argument(node.kwargs)
        found = list(_leaves((args, kwargs)))
        name = str(getattr(node.target, "__name__", node.target)).partition(".")[0]
        if name == "getitem" and isinstance(args[0], tuple):  # of a part's results
            self.values[node.name] = args[0][args[1]]
            return None
        if not any(isinstance(leaf, Node) for leaf in found):
            target: Any = node.target
            values = target(*_tensors(args), **_tensors(kwargs))
            learnt = next((leaf.name for leaf in found if isinstance(leaf, Constant) and leaf.name), "")
            self.values[node.name] = _constant(values, learnt)
            return None
        value: Any = node.meta.get("val")
        shape = tuple(int(n) for n in value.shape) if hasattr(value, "shape") else None
        return Step(name, args, kwargs, node.name, _module(node), shape)

    def _argument(self, given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return tuple(self._argument(one) for one in given)
        if isinstance(given, dict):
            return {key: self._argument(one) for key, one in given.items()}
        if hasattr(given, "op") and hasattr(given, "users"):  # a node
            return self.values.get(given.name, Node(given.name))
        return given


def _constant(values: Any, learnt: str) -> Any:
    if isinstance(values, (list, tuple)):
        return tuple(_constant(one, learnt) for one in values)
    return Constant(values, learnt) if hasattr(values, "shape") else values


def _tensors(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(_tensors(one) for one in given)
    if isinstance(given, dict):
        return {key: _tensors(one) for key, one in given.items()}
    return given.tensor if isinstance(given, Constant) else given


def _leaves(given: Any) -> Iterator[Any]:
    if isinstance(given, dict):
        given = tuple(given.values())
    if isinstance(given, tuple):
        for one in given:
            yield from _leaves(one)
    else:
        yield given


def _module(node: torch.fx.Node) -> str:
    """Return the path of the innermost module that a node belongs to."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    # The outermost module is a wrapper; a module that is called twice has an @1 behind its path.
    return re.sub(r"^network\.?|@\d+", "", path)


def _needed(steps: list[Step], result: str) -> list[Step]:
    """Return the steps that the result depends on."""
    wanted, kept = {result}, []
    for step in reversed(steps):
        if step.node in wanted:
            kept.append(step)
            wanted |= {leaf.name for leaf in _leaves((step.args, step.kwargs)) if isinstance(leaf, Node)}
    return kept[::-1]
