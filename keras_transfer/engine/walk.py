"""Every layer of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def every_layer(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield every layer once, inner models and the functional graph inside a ``Sequential`` included."""
    import keras

    seen: set[int] = set()
    stack: list[keras.layers.Layer] = [model]
    while stack:
        layer = stack.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        inner = list(layer._layers)
        if isinstance(layer, keras.Sequential) and layer._functional is not None:
            inner.append(layer._functional)
        stack.extend(reversed(inner))
