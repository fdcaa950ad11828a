"""A list of backbones with size, licence and origin of the weights, filtered by each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import BACKBONES, at_hand, get
from keras_transfer.models.backbones.sizes import PARAMETERS
from keras_transfer.models.checkpoints.families import FAMILIES
from keras_transfer.models.checkpoints.reference import downloaded, find, is_reference
from keras_transfer.models.checkpoints.tensors import read_checkpoint


@dataclass(frozen=True)
class Listed:
    """A line of the list.

    Attributes:
        name: as ``model.backbone``.
        family: architecture.
        image_size: side in pixels that the weights were trained or evaluated at.
        megabytes: size of the weights in float32, without the classification layer; for a checkpoint, of its files in float32.
        licence: of the weights.
        installed: whether the weights are on this machine.
    """

    name: str
    family: str
    image_size: int
    megabytes: float | None
    licence: str
    installed: bool


def listed(
    names: Sequence[str] = (), licence: str | None = None, max_mb: float | None = None, only_installed: bool = False
) -> list[Listed]:
    """Return the backbones of the table and the downloaded checkpoints, or those of ``names``, that pass all filters.

    Args:
        names: backbones and checkpoints; none: all.
        licence: text that the licence contains, in any case.
        max_mb: largest size in megabytes; backbones of unknown size do not pass.
        only_installed: only those whose weights are on this machine.

    Raises:
        UserError: a name that does not exist.
    """
    if max_mb is not None and not max_mb > 0:
        raise UserError(f"--max-mb: expected a number above 0, got {max_mb:g}")
    found = [_line(name) for name in names or [*BACKBONES, *_readable(downloaded())]]
    return [
        one
        for one in found
        if (licence is None or licence.casefold() in one.licence.casefold())
        and (max_mb is None or (one.megabytes is not None and one.megabytes <= max_mb))
        and (one.installed or not only_installed)
    ]


def table(lines: Sequence[Listed]) -> str:
    """Return the list as text of aligned columns."""
    if not lines:
        return "no backbone passes the filters"
    head = ("backbone", "px", "MB", "licence", "weights", "architecture")
    rows = [
        (
            one.name,
            str(one.image_size),
            "?" if one.megabytes is None else f"{one.megabytes:.0f}",
            one.licence,
            "installed" if one.installed else "download",
            one.family,
        )
        for one in lines
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    families = ", ".join(family.name for family in FAMILIES)
    return "\n".join(
        [
            *text,
            "",
            f"checkpoints (hf:ORG/NAME, timm:NAME or a folder) of these families also work: {families};"
            " most others by way of timm or transformers, where they are installed",
        ]
    )


def _line(name: str) -> Listed:
    record = get(name)
    if is_reference(name):
        whole = 4e-6 * read_checkpoint(find(name)).tensors.parameters()
        return Listed(name, record.family, record.image_size, whole, record.licence, True)
    parameters = PARAMETERS.get(name)
    size = None if parameters is None else 4e-6 * parameters
    return Listed(
        name,
        record.family,
        record.image_size,
        size,
        record.licence,
        name in at_hand() or "imagenet" not in record.weights,
    )


def _readable(names: Sequence[str]) -> list[str]:
    """Return the names whose architecture is supported."""
    found = []
    for name in names:
        try:
            get(name)
        except UserError:
            continue
        found.append(name)
    return found
