"""The table of backbones. To add a family: one file with ``RECORDS``, one line in ``FAMILIES``."""

from __future__ import annotations

from keras_transfer.errors import unknown
from keras_transfer.models.backbones import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_lite,
    inception,
    mobilenet,
    nasnet,
    resnet,
    resnet_basic,
    tiny,
    vgg,
)
from keras_transfer.models.backbones.record import Backbone

__all__ = ["BACKBONES", "FAMILIES", "Backbone", "get", "names"]

FAMILIES: tuple[tuple[Backbone, ...], ...] = (
    efficientnet_lite.RECORDS,
    mobilenet.RECORDS,
    resnet.RECORDS,
    resnet_basic.RECORDS,
    efficientnet.RECORDS,
    convnext.RECORDS,
    densenet.RECORDS,
    vgg.RECORDS,
    alexnet.RECORDS,
    inception.RECORDS,
    nasnet.RECORDS,
    tiny.RECORDS,
)

BACKBONES: dict[str, Backbone] = {record.name: record for family in FAMILIES for record in family}


def names() -> list[str]:
    """Return the names of all backbones of the table (``hub:NAME`` takes any keras-hub preset besides)."""
    return list(BACKBONES)


def get(name: str) -> Backbone:
    """Return the record of a backbone; ``hub:NAME`` asks keras-hub for the preset NAME (a name or a folder).

    Raises:
        UserError: there is no such backbone, or the preset cannot be had.
        MissingExtra: ``hub:`` without keras-hub.
    """
    if name.startswith("hub:"):
        from keras_transfer.models.backbones.hub import hub_backbone

        return hub_backbone(name)
    if name not in BACKBONES:
        raise unknown("backbone", name, names())
    return BACKBONES[name]
