"""The table of families. To add one: a file with ``FAMILY``, a line in ``FAMILIES``."""

from __future__ import annotations

from keras_transfer.errors import UserError, nearest
from keras_transfer.models.checkpoints.families import (
    beit,
    convnext,
    densenet,
    eva,
    fastvit,
    hgnet,
    inception,
    inception_v4,
    mobile,
    mobile_transformers,
    regnet,
    repvgg,
    repvit,
    resnet,
    resnetv2,
    swin,
    vgg,
    vit,
    vit_transformers,
    xception,
)
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.record import Facts

__all__ = ["FAMILIES", "Family", "family_of"]

FAMILIES: tuple[Family, ...] = (
    vit.FAMILY,
    eva.FAMILY,
    beit.FAMILY,
    beit.FAMILY_OF_TRANSFORMERS,
    vit_transformers.FAMILY,
    swin.FAMILY,
    convnext.FAMILY,
    resnet.FAMILY,
    regnet.FAMILY,
    densenet.FAMILY,
    repvit.FAMILY,
    repvgg.FAMILY,
    vgg.FAMILY,
    fastvit.FAMILY,
    fastvit.WITH_ATTENTION,
    resnetv2.FAMILY,
    resnetv2.BIG_TRANSFER,
    xception.FAMILY,
    xception.FIRST,
    inception.FAMILY,
    inception_v4.FAMILY,
    hgnet.FAMILY,
    mobile.FAMILY,
    mobile.HYBRID,
    mobile_transformers.FAMILY,
)


def family_of(facts: Facts) -> Family:
    """Return the family of a checkpoint.

    Raises:
        UserError: there is none.
    """
    for family in FAMILIES:
        if family.knows(facts):
            return family
    known = [name for family in FAMILIES for name in (*family.examples, *family.transformers)]
    kinds = dict.fromkeys(family.name.partition(" (")[0] for family in FAMILIES)
    raise UserError(
        f"{facts.library} architecture {facts.architecture[:80]!r} is not supported{nearest(facts.architecture, known)}"
        f" (families: {', '.join(kinds)}; docs/backbones.md lists them)"
    )
