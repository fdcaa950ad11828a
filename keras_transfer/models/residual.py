"""Residual branches that begin as nothing: from random weights, a deep network then begins as a shallow one, and bears higher rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.keras_compat import calls, producer
from keras_transfer.models.graph import flat_layers


def zero_branches(model: keras.Model) -> int:
    """Set the scale of the last BatchNormalization of each residual branch to 0, so that each block begins as its shortcut.

    Goyal et al., "Accurate, large minibatch SGD", 2017, section 5.1, https://arxiv.org/abs/1706.02677; ``zero_init_residual`` of torchvision.

    Returns:
        Number of branches.

    Raises:
        UserError: no sum has a branch that ends in BatchNormalization.
    """
    found = list(_last_norms(model))
    for layer in found:
        layer.gamma.assign(np.zeros(layer.gamma.shape, np.float32))
    if not found:
        raise UserError(
            f"model.zero_init_residual: {model.name} has no residual branch that ends in BatchNormalization"
        )
    return len(found)


def _last_norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    """Yield the BatchNormalization that ends the longer way into each sum: the other one is the shortcut."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.Add) and len(layer.input) == 2:
            ends = [producer(tensor) for tensor in layer.input]
            above = [_above(end) for end in ends]
            way = [len(own - other) for own, other in (above, above[::-1])]
            branch = ends[int(way[1] > way[0])]
            if isinstance(branch, keras.layers.BatchNormalization) and branch.scale:
                yield branch


def _above(operation: Any) -> set[int]:
    """Return the operation and all that it is computed from."""
    found, left = set(), [operation]
    while left:
        one = left.pop()
        if id(one) not in found:
            found.add(id(one))
            left += [producer(tensor) for node in calls(one) for tensor in node.input_tensors]
    return found
