"""Whether shards are there and what their index says, before anything is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from keras_transfer.data.images.protocols import new_owner
from keras_transfer.data.sharded.blocks import DamagedShard, TarBlock
from keras_transfer.data.sharded.files import BlockFiles
from keras_transfer.data.sharded.places import CannotRead, Place
from keras_transfer.data.threads import each
from keras_transfer.errors import UserError
from keras_transfer.runtime import cache_dir, usable_cores
from keras_transfer.text import one_line

_SHOWN = 20


def problems_of(place: Place, blocks: Sequence[TarBlock]) -> dict[int, str]:
    """Return number → what is wrong, of shards that are missing, of another size or, if they are local, of another SHA-256.

    Local shards are read whole for that, once: files of the same size and modification time are not read again.
    """
    details = place.sizes([block.name for block in blocks])
    found = {k: block.problem(detail) for k, (block, detail) in enumerate(zip(blocks, details))}
    problems = {k: what for k, what in found.items() if what}
    if place.remote:
        return problems
    stamp = hashlib.sha256(repr([(b.name, b.sha256, d) for b, d in zip(blocks, details)]).encode()).hexdigest()
    marker = cache_dir() / "shards" / "checked" / stamp[:32]
    if problems or marker.is_file():
        return problems
    numbers = [[k] for k, block in enumerate(blocks) if block.sha256]
    said = each(lambda k: (k, blocks[k].check()), numbers, min(usable_cores(), 8), "kt-check")
    problems = {k: what for part in said for k, what in part if what}
    if not problems:
        with suppress(OSError):  # a cache that cannot be written only costs time
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    return problems


def fetched_problems(files: BlockFiles, blocks: Sequence[TarBlock]) -> dict[int, str]:
    """Fetch all remote shards once, and return number → what is wrong."""
    problems, owner = {}, new_owner()
    for k in range(len(blocks)):
        files.announce(owner, list(range(k, len(blocks))))
        try:
            files.file(k)
        except DamagedShard as error:
            problems[k] = error.reason
        except CannotRead as error:
            problems[k] = str(error)
    files.announce(owner, [])
    return problems


def refuse(blocks: Sequence[TarBlock], problems: dict[int, str]) -> None:
    """Raise an error that names every shard with a problem, if there are any."""
    if not problems:
        return
    if len(problems) == 1:
        k, what = next(iter(problems.items()))
        raise DamagedShard(blocks[k].name, what)
    lines = [
        f"  {one_line(Path(blocks[k].name).name)}: {one_line(what)}" for k, what in list(problems.items())[:_SHOWN]
    ]
    more = [f"  … and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    head = f"{len(problems)} of {len(blocks)} shards are missing or damaged (skip_damaged_shards: true leaves their images out):"
    raise UserError("\n".join([head, *lines, *more]))
