"""Which family builds a checkpoint."""

from __future__ import annotations

from keras_transfer.errors import UserError, nearest
from keras_transfer.models.checkpoints.families import FAMILIES, Family
from keras_transfer.models.checkpoints.record import Facts
from keras_transfer.models.checkpoints.traced import network
from keras_transfer.models.checkpoints.traced.family import traced_family


def family_of(facts: Facts) -> Family:
    """Return the family of a checkpoint; one that no family knows is traced from its library, if that is installed.

    Raises:
        UserError: there is none.
    """
    for family in FAMILIES:
        if family.knows(facts):
            return family
    obstacle = network.obstacle(facts)
    if not obstacle:
        return traced_family(facts)
    known = [name for family in FAMILIES for name in (*family.examples, *family.transformers)]
    raise UserError(
        f"{facts.library} architecture {facts.architecture[:80]!r} is not supported{nearest(facts.architecture, known)}: it is of no"
        f" family (docs/backbones.md lists them), and cannot be traced from {facts.library} itself: {obstacle}"
    )
