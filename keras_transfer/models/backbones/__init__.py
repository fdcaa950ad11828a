"""The table of backbones. To add a family: one file with ``RECORDS``, one line in ``FAMILIES``.

Another package adds a backbone by an entry point in the group ``keras_transfer.backbones``: its name, and where its
``Backbone`` record is.
"""

from __future__ import annotations

from pathlib import Path

from keras_transfer.arguments import checked
from keras_transfer.errors import UserError
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
from keras_transfer.models.backbones.joined import joined, suffix
from keras_transfer.models.backbones.own import PREFIX
from keras_transfer.models.backbones.record import BACKBONES, Backbone, Checkpoint, installed
from keras_transfer.models.checkpoints.reference import PREFIXES, is_reference

__all__ = ["BACKBONES", "FAMILIES", "Backbone", "Checkpoint", "at_hand", "backbones", "get", "names", "suffix"]

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

BACKBONES.update({record.name: record for family in FAMILIES for record in family})


def names() -> list[str]:
    """Return the names of all backbones (``hf:``, ``timm:`` and ``hub:`` take others)."""
    return list(BACKBONES)


def at_hand() -> list[str]:
    """Return the names of the built-in backbones whose ImageNet weights are installed, so that they need no network."""
    return [record.name for record in BACKBONES.built_in.values() if record.package and installed(record.package)]


def get(name: str) -> Backbone:
    """Return the record of a backbone.

    Args:
        name: of the table; ``hf:ORG/NAME``, ``timm:NAME`` or the path of a folder for a checkpoint of transformers or timm; ``hub:NAME`` for the
            keras-hub preset NAME (a name or a folder); ``own:NAME``, see :mod:`keras_transfer.models.backbones.own`; or several names of
            the table with ``+`` between them, for a classifier on the features of all.

    Raises:
        UserError: there is no such backbone, or it cannot be loaded.
        MissingExtra: ``hub:`` without keras-hub.
    """
    if name.startswith("hub:"):
        from keras_transfer.models.backbones.hub import hub_backbone

        return hub_backbone(name)
    if name.startswith(PREFIX) and name not in BACKBONES:
        raise UserError(
            f"the backbone {name!r} is a model that another process was given: Classifier(backbone=model) makes it known here"
        )
    if is_reference(name):
        _refuse_joined_checkpoints(name)
        from keras_transfer.models.backbones.checkpoint import checkpoint_backbone

        return checkpoint_backbone(name)
    if "+" in name:
        return joined([BACKBONES.lookup(part) for part in name.split("+")])
    return BACKBONES.lookup(name)


def _refuse_joined_checkpoints(name: str) -> None:
    """Raise an error for checkpoints with ``+`` between them; a folder may have a ``+`` in its path."""
    parts = name.split("+")
    if len(parts) > 1 and not Path(name).expanduser().exists() and all(map(_is_a_name, parts)):
        found = next(part for part in parts if is_reference(part))
        raise UserError(
            f"backbone {name!r}: only backbones of the table can be joined by +, and {found!r} is a checkpoint;"
            " train each alone, or join names of the table, such as efficientnet_lite0+mobilenet_v2"
        )


def _is_a_name(part: str) -> bool:
    return part in BACKBONES or part.startswith(PREFIXES) or Path(part).expanduser().is_dir()


@checked
def backbones() -> list[str]:
    """Return the names of all backbones; ``hub:NAME`` also takes any keras-hub preset.

    Examples:
        >>> "mobilenet_v2" in kt.backbones()
        True
    """
    return names()
