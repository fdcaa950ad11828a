"""The record of a backbone: everything that the rest of the package has to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_transfer.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

# Called with (input shape (height, width, 3), weights "imagenet" | "none" | a path); returns a model from
# preprocessed pixels to a feature map (batch, height', width', channels).
Build = Callable[[tuple[int, int, int], str], "keras.Model"]


@dataclass(frozen=True)
class Checkpoint:
    """PyTorch state dicts that hold the weights of a backbone.

    Attributes:
        package: whose names they have, such as ``"torchvision"``.
        names: gives the name of each layer with weights → its prefix in the state dict.
    """

    package: str
    names: Callable[[], Mapping[str, str]]


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
        checkpoints: the PyTorch state dicts that it accepts.
        torch: the record for state dicts of another function than Keras's, with which they share the layers;
            see :mod:`keras_transfer.models.backbones.torch_variant`.
        variant: what tells it from another record of the same name: ``""`` or ``"torch"``.
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
    checkpoints: tuple[Checkpoint, ...] = ()
    torch: Backbone | None = None
    variant: str = ""

    def all_checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the PyTorch state dicts that it or its torch_variant accepts."""
        return self.checkpoints + (self.torch.checkpoints if self.torch else ())
