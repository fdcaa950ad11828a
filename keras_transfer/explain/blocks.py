"""The blocks of a residual network: the magnitudes of the shortcut x and of the residual branch F(x).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: the output of a block is x + F(x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from keras_transfer.errors import UserError, unknown
from keras_transfer.explain.grad_cam import checked_images
from keras_transfer.keras_compat import calls, graph_tensors, producer, producer_node


@dataclass(frozen=True)
class Block:
    """A residual block: the sum of a shortcut and a residual branch.

    Attributes:
        name: name of the Add layer.
        shortcut: symbolic tensor x, after the projection if there is one.
        residual: symbolic tensor F(x).
        projected: whether the shortcut has weights (a convolution, because the shape changes).
    """

    name: str
    shortcut: Any
    residual: Any
    projected: bool


@dataclass(frozen=True)
class BlockSize:
    """Magnitudes of a block's branches, over all images, positions and channels.

    Attributes:
        name: name of the Add layer.
        projected: whether the shortcut has weights.
        shape: (height, width, channels) of the sum.
        shortcut: root mean square of x.
        residual: root mean square of F(x).
        output: root mean square of x + F(x).
        ratio: ``residual / shortcut``; infinite if x is zero.
        cosine: cosine similarity of x and F(x), -1..1; negative if the block counteracts its input.
    """

    name: str
    projected: bool
    shape: tuple[int, int, int]
    shortcut: float
    residual: float
    output: float
    ratio: float
    cosine: float


class Residuals:
    """The residual blocks of a model, found once for any number of measurements; later weight changes apply.

    A block is a sum of two feature maps computed from the same tensor, where one branch, the shortcut, is shorter and
    has at most one convolution. A sum whose longer branch contains another sum, as in NASNet's cells, does not count.

    Args:
        model: a functional ``keras.Model`` from images (b, h, w, c).

    Raises:
        UserError: the model has no such block.
    """

    def __init__(self, model: Any):
        self.size = tuple(int(side) for side in model.input_shape[1:3])
        self.blocks = list(find_blocks(model))
        if not self.blocks:
            raise UserError("the model has no residual blocks: no sum of a feature map and a shortcut around it")
        self._branches = keras.Model(model.input, [[block.shortcut, block.residual] for block in self.blocks])

    def measure(self, images: np.ndarray) -> list[BlockSize]:
        """Return the root mean squares of x, F(x) and their sum for every block, in network order.

        Args:
            images: (b, h, w, c) pixels 0..255 in the model's size, at least one.

        Raises:
            UserError: wrong image shape, or no image.
        """
        images = checked_images(images, self.size)
        if not len(images):
            raise UserError("expected at least one image")
        sums = np.zeros((len(self.blocks), 4))
        for image in images:  # one at a time: all branches of a deep network need much memory
            for row, (x, f) in zip(sums, self._compute(image)):
                row += [(x * x).mean(), (f * f).mean(), (x * f).mean(), ((x + f) ** 2).mean()]
        return [_size(block, *row) for block, row in zip(self.blocks, sums / len(images))]

    def maps(self, image: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return x and F(x) of one block, float64 (h, w, c) each.

        Args:
            image: (h, w, c) pixels 0..255 in the model's size.
            name: name of the block.

        Raises:
            UserError: no such block, or wrong image shape.
        """
        names = [block.name for block in self.blocks]
        if name not in names:
            raise unknown("block", name, names)
        return self._compute(checked_images(np.asarray(image)[None], self.size)[0])[names.index(name)]

    def _compute(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        found = self._branches.predict_on_batch(image[None])
        return [(np.asarray(x[0], np.float64), np.asarray(f[0], np.float64)) for x, f in found]


def residuals(model: Any, images: np.ndarray) -> list[BlockSize]:
    """Measure the blocks of a residual network; see :class:`Residuals`."""
    return Residuals(model).measure(images)


def find_blocks(model: Any) -> Iterator[Block]:
    """Yield the residual blocks of a functional model, in graph order."""
    order = {id(tensor): number for number, tensor in enumerate(graph_tensors(model))}
    for operation in model.operations:
        for node in calls(operation):
            if type(operation).__name__ != "Add" or not all(id(tensor) in order for tensor in node.outputs):
                continue
            inputs = node.input_tensors
            if len(inputs) == 2 and all(len(tensor.shape) == 4 for tensor in inputs):
                block = _block(operation.name, inputs, order)
                if block is not None:
                    yield block


def _block(name: str, inputs: list[Any], order: dict[int, int]) -> Block | None:
    """Return the block that adds two tensors, or None if neither is a shortcut."""
    before = [_ancestors(tensor) for tensor in inputs]
    common = set(before[0]) & set(before[1])
    if not common:
        return None
    # The tensors that lead to only one of the two: the branches, from where they split.
    first, second = ([step for key, step in each.items() if key not in common] for each in before)
    shorter, longer = (0, 1) if len(first) < len(second) else (1, 0)
    branches = (first, second)
    if len(first) == len(second) or _kernels(branches[shorter]) > 1 or any(_adds(step) for step in branches[longer]):
        return None
    return Block(name, inputs[shorter], inputs[longer], _kernels(branches[shorter]) > 0)


def _ancestors(tensor: Any) -> dict[int, Any]:
    """Return id → tensor of a tensor and everything it is computed from."""
    found, waiting = {}, [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = one
            waiting += producer_node(one).input_tensors
    return found


def _kernels(branch: list[Any]) -> int:
    """Count the operations with kernels: convolutions and dense layers, not normalizations."""
    operations = [producer(tensor) for tensor in branch]
    return sum(any(len(weight.shape) > 1 for weight in getattr(one, "weights", ())) for one in operations)


def _adds(tensor: Any) -> bool:
    node = producer_node(tensor)
    return type(node.operation).__name__ == "Add" and len(node.input_tensors) == 2


def _size(block: Block, xx: float, ff: float, xf: float, total: float) -> BlockSize:
    x, f = float(np.sqrt(xx)), float(np.sqrt(ff))
    height, width, channels = (int(side) for side in block.residual.shape[1:])
    ratio = f / x if x else float("inf")
    cosine = float(xf / (x * f)) if x and f else 0.0
    return BlockSize(block.name, block.projected, (height, width, channels), x, f, float(np.sqrt(total)), ratio, cosine)


def blocks_table(sizes: Sequence[BlockSize]) -> Table:
    """Return a table with one row per block; a star marks a projection shortcut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="* projection shortcut", caption_justify="left")
    if not any(one.projected for one in sizes):
        table.caption = None
    table.add_column("block", overflow="fold")
    for heading in ("size", "x", "F(x)", "x + F(x)", "F(x) / x", "cosine"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in sizes:
        values = (one.shortcut, one.residual, one.output, one.ratio)
        table.add_row(Text(one.name + ("*" if one.projected else "")), " × ".join(map(str, one.shape)),
                      *(f"{value:.3g}" for value in values), f"{one.cosine:+.2f}")  # fmt: skip
    return table
