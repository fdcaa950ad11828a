"""What translates the steps of a program: the values so far, the names of layers, and constants as trainable weights or as tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.traced.program import Constant, Node, Program, Step
from keras_transfer.models.checkpoints.traced.value import BATCH, Untranslated, Value

# The path of a block: stages.1.blocks.0, layer1.0, blocks.3; s1.b2; features.conv3_1; pvt_v2.encoder.layers.0.blocks.1.
_BLOCKS = (
    r"(?P<outer>[a-z]+(_[a-z]+)*_?\d*)(\.(?P<first>\d+))?(\.(blocks?|layers?|units?)\.(?P<second>\d+))?",
    r"(?P<outer>[a-z]+\d+)\.(?P<first>[a-z]+\d+)(?P<second>)",
    r"(?P<outer>[a-z]+)\.(?P<first>[a-z]+[\d_]*\d)(?P<second>)",
    r"(\w+\.)*?(?P<outer>stages?|layers?|blocks?)\.(?P<first>\d+)(\.((blocks?|layers?|units?)\.)?(?P<second>\d+))?",
)
_STEM = r"(conv|stem|patch_?embed|cls|pos|init)"


@dataclass
class Builder:
    """The state of a translation.

    Attributes:
        values: results of the steps so far, by name.
        block: regular expression of the paths of blocks.
        step: that is translated now.
        group: of layers, that it is in.
        used: names of layers so far, each with the number of layers that wanted it.
        seen: groups so far.
    """

    values: dict[str, Any] = field(default_factory=dict)
    block: str = _BLOCKS[0]
    step: Step | None = None
    group: str = "stem"
    used: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=lambda: {"stem"})

    def run(self, program: Program, image: Value, operations: dict[str, Callable[..., Any]]) -> Value:
        """Translate all steps; return the result.

        Raises:
            Untranslated: a step that cannot be.
        """
        self.values[program.image] = image
        found = {pattern: {_group(pattern, step.module) for step in program.steps} for pattern in _BLOCKS}
        self.block = next((pattern for pattern in _BLOCKS if len(found[pattern]) > 2), _BLOCKS[0])
        for step in program.steps:
            self.step = step
            self._enter(step.module)
            name = step.operation.strip("_")
            if name not in operations:
                raise Untranslated(f"the operation {step.operation} in {step.module or 'the network'}")
            made = operations[name](self, *self.found(step.args), **self.found(step.kwargs))
            self.values[step.node] = made
            if step.operation.endswith("_") and isinstance(
                step.args[0], Node
            ):  # in place: what was there before is gone
                self.values[step.args[0].name] = made
        return self.values[program.result]

    def found(self, given: Any) -> Any:
        """Return arguments with the values of earlier steps."""
        if isinstance(given, tuple):
            return tuple(self.found(one) for one in given)
        if isinstance(given, dict):
            return {key: self.found(one) for key, one in given.items()}
        return self.values[given.name] if isinstance(given, Node) else given

    def _enter(self, module: str) -> None:
        """Begin a new layer group where a block begins."""
        group = _group(self.block, module)
        if group and group not in self.seen:
            self.group = group
            self.seen.add(group)

    def name(self, what: str = "") -> str:
        """Return a name for a layer of this step that no other layer has."""
        assert self.step is not None
        path = re.sub(r"[^0-9A-Za-z]+", "_", self.step.module).strip("_")
        base = "_".join(part for part in (self.group, path, what) if part)
        count = self.used[base] = self.used.get(base, 0) + 1
        return base if count == 1 else f"{base}_{count}"

    def layer(self, kind: type[keras.layers.Layer], what: str, *args: Any, **options: Any) -> keras.layers.Layer:
        """Return a new layer with a name of its own."""
        return kind(*args, name=self.name(what), **options)

    def spread(self, constant: Constant, like: Value, shape: Sequence[int]) -> Tensor:
        """Return a constant for each image, as it is laid out beside ``like``: weights if it is learnt, a table if not.

        Args:
            constant: that can be broadcast to ``shape``.
            like: of the same rank as ``shape``.
            shape: as the program sees it, with sizes of 1 where it is broadcast; 1 along the batch.
        """
        values = lie(constant, like, shape)
        ones = self.ones(like)
        if constant.name:
            layer = self.layer(keras.layers.Dense, "weight", values.size, use_bias=False)
            flat = layer(ones)
            layer.set_weights([values.reshape(1, -1)])
        else:
            flat = self.layer(keras.layers.RepeatVector, "repeat", values.size)(ones)
            flat = self.layer(keras.layers.Flatten, "flat")(flat)
            flat = self.layer(keras.layers.Rescaling, "table", 0.0, digits(values.reshape(-1)))(flat)
        return self.layer(keras.layers.Reshape, "shape", values.shape[1:])(flat)

    def ones(self, like: Value) -> Tensor:
        """Return a one for each row of the batch, (rows, 1), that depends on ``like``, so that a frozen prefix stays one."""
        first = like.tensor
        if like.rank > 1:
            first = first[(slice(None), *[slice(0, 1)] * (like.rank - 1))]
        flat = self.layer(keras.layers.Flatten, "first")(first)
        return self.layer(keras.layers.Rescaling, "ones", 0.0, 1.0)(flat)


def _group(pattern: str, module: str) -> str:
    """Return the layer group of a module, ``""`` where it is part of no block."""
    match = re.match(pattern, module)
    if (
        match is None
        or not (match["first"] or match["second"])
        or (re.match(_STEM, match["outer"]) and not match["second"])
    ):
        return ""
    parts = [re.sub(r"\W|_", "", part) for part in match.group("outer", "first", "second") if part]
    return parts[0] + "x".join(parts[1:])


def lie(constant: Constant, like: Value, shape: Sequence[int]) -> np.ndarray:
    """Return the values of a constant with their axes as those of ``like`` lie, the first of size 1."""
    values = constant.tensor.detach().float().numpy()
    values = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    axis = like.batch
    if values.shape[axis] == BATCH * like.inner and like.inner == 1:
        if not (values == values.take([0], axis)).all():
            raise Untranslated("a constant that differs between images")
        values = values.take([0], axis)
    if values.shape[axis] != 1:
        raise Untranslated(f"a constant of shape {values.shape} beside a batch that windows are merged into")
    return values.transpose(np.argsort(like.order))


def digits(values: np.ndarray) -> Any:
    """Return numbers as a list, with nine digits: enough for float32, and short in a saved configuration."""
    return [digits(row) for row in values] if values.ndim > 1 else [float(f"{value:.9g}") for value in values]
