"""Several backbones beside each other, whose features a head reads together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_transfer.errors import UserError
from keras_transfer.models.backbones.record import Backbone

if TYPE_CHECKING:
    import keras


def joined(parts: Sequence[Backbone]) -> Backbone:
    """Return one record for several backbones; all see images of the largest of their sizes.

    Raises:
        UserError: a backbone is named twice.
    """
    names = [part.name for part in parts]
    name = "+".join(names)
    if len(set(names)) < len(names):
        raise UserError(f"backbone {name}: expected different names")
    largest = max(parts, key=lambda part: part.image_size)
    return Backbone(
        name=name,
        family=" + ".join(dict.fromkeys(part.family for part in parts)),
        build=_not_alone,
        preprocessing=largest.preprocessing,
        image_size=largest.image_size,
        min_size=max(part.min_size for part in parts),
        groups=None,
        licence=", ".join(dict.fromkeys(part.licence for part in parts)),
        source="; ".join(part.source for part in parts),
        embedded=all(part.embedded for part in parts),
        not_on=tuple(backend for part in parts for backend in part.not_on),
        weights=tuple(kind for kind in largest.weights if all(kind in part.weights for part in parts)),
        parts=tuple(parts),
    )


def suffix(number: int) -> str:
    """Return what the layer names of a part end with; number 0 is the first."""
    return f"__{number + 1}" if number else ""


def _not_alone(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    raise UserError("backbones joined by + have no feature map of their own; build a classifier on them")
