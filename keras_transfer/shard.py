"""What the ``shard`` command does: any data as tar shards with an index."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from keras_transfer import text
from keras_transfer.config import load_config
from keras_transfer.config.load import recipe_names
from keras_transfer.config.open_data import source_options
from keras_transfer.config.schema import RunConfig
from keras_transfer.data import builder
from keras_transfer.data.writing.shards import Written, parse_size, write_shards
from keras_transfer.errors import UserError
from keras_transfer.typing import Say


def shard(
    source: str,
    output: str,
    *,
    size: str | int = "256MB",
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
    workers: int | str = "auto",
    say: Say = text.say,
) -> Written:
    """Write data as shards and say what was written.

    Args:
        source: folder, list (``.txt``), ``.csv``, ``.npz``, other shards, or a configuration by path or name.
        output: a new folder, one that an interrupted writing has begun, or an address.
        size: of a shard: bytes, or text such as ``256MB``.
        seed: of the order.
        on_bad_image: ``"error"`` or ``"skip"``.
        workers: threads that read and decode images.
        say: prints a line.

    Raises:
        UserError: data that cannot be read, an output that holds something else or cannot be written.
    """
    config = _config(source)
    samples = builder.load_source(config.data.source, source_options(config))
    if not len(samples):
        raise UserError(f"{samples.source}: no images")
    written = write_shards(
        samples, output, size=parse_size(size), seed=seed, on_bad_image=on_bad_image, workers=workers
    )
    index = written.index
    total = sum(one.size for one in index.shards)
    for name, reason in written.bad[:20]:
        say(f"left out: {text.one_line(name)}: {text.one_line(reason)}")
    if len(written.bad) > 20:
        say(f"left out: {len(written.bad) - 20} more images that cannot be read")
    what = f"{len(index):,} images of {len(index.classes):,} {'labels' if index.labels.ndim == 2 else 'classes'} in {len(index.shards):,} shards, {total / 1e9:,.3f} GB"
    if written.complete:
        say(f"{output}: complete already: {what}")
    else:
        before = f" ({written.resumed} of them were finished before)" if written.resumed else ""
        say(f"{output}: {what}{before}")
        say(f"train on them: keras-transfer train {output}")
    return written


def _config(source: str) -> RunConfig:
    is_config = Path(source).suffix.lower() in (".yaml", ".yml") or (
        not Path(source).exists() and source in recipe_names()
    )
    return load_config(source) if is_config else load_config(None, data=source)
