"""The record of a backbone: everything that the rest of the package has to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_transfer.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

# Called with (input shape (height, width, 3), weights "imagenet" | "none" | a path); returns a model from
# preprocessed pixels to a feature map (batch, height', width', channels).
Build = Callable[[tuple[int, int, int], str], "keras.Model"]


@dataclass(frozen=True)
class Backbone:
    """A feature extractor that a classifier can be built on.

    Attributes:
        name: what users write.
        family: architecture, as papers call it.
        build: makes the Keras model; its input is already preprocessed, its output a feature map.
        preprocessing: how raw RGB 0..255 becomes that input.
        image_size: side in pixels that the published weights were trained or evaluated at.
        min_size: smallest side that the architecture accepts.
        groups: ordered (group name, regular expression over layer names), input to output; None: the generic
            rule (a group for each spatial resolution).
        licence: of the published weights.
        source: paper, and where the weights come from.
        embedded: whether the weights come with the package's requirements, so that no download is needed.
        anchors: where a layer that no expression matches (those that Keras names by a running number) belongs:
            ``"previous"`` or ``"next"`` matched layer in the graph's order.
        not_on: Keras backends that cannot build it.
        weights: the values of ``weights`` that it accepts, besides a path.
    """

    name: str
    family: str
    build: Build
    preprocessing: Preprocessing
    image_size: int
    min_size: int
    groups: tuple[tuple[str, str], ...] | None
    licence: str
    source: str
    embedded: bool = False
    anchors: str = "previous"
    not_on: tuple[str, ...] = ()
    weights: tuple[str, ...] = ("imagenet", "none")
