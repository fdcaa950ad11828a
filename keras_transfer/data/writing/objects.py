"""Write data sets that other libraries hold as shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras_transfer.data.builder import load_source
from keras_transfer.data.objects import samples_of, splits_in
from keras_transfer.data.objects.gathering import MORE
from keras_transfer.data.objects.streams import as_stream
from keras_transfer.data.paths import source_of
from keras_transfer.data.sources._labels import ClassNames, class_names
from keras_transfer.data.writing.shards import parse_size, write_shards
from keras_transfer.data.writing.streams import write_stream
from keras_transfer.errors import UserError


def write_any(data: Any, output: str, y: Any, classes: ClassNames, *, size: int | str, **options: Any) -> int:
    """Write any data as shards and return the number of images; see :func:`keras_transfer.data.write_shards`."""
    parts: Mapping[str, Any] = splits_in(data) or {"": data}
    streams = {split: found for split, part in parts.items() if (found := as_stream(part)) is not None}
    if streams and y is not None:
        raise UserError("y is given, but a stream has labels of its own")
    if streams and len(streams) < len(parts):
        raise UserError("some splits are streams and others are not: write the others to a folder of their own")
    if streams:
        title = f"stream of {type(next(iter(parts.values()))).__name__}"
        written = write_stream(streams, output, class_names(classes), source=title, size=parse_size(size), **options)
        return len(written.index)
    if isinstance(data, (str, os.PathLike)):
        if y is not None:
            raise UserError(f"y is given, but {os.fspath(data)} has labels of its own")
        source = dict(source_of(os.fspath(data)))
        samples = load_source(source.pop("source"), {**source, "classes": class_names(classes)})
    else:
        samples = samples_of(data, y, classes)
        if any(note.endswith(MORE) for note in samples.notes):
            raise UserError(
                f"{samples.source}: it is not known how long it is, and it does not fit into memory: give it as an iterator, iter(data)"
            )
    if not len(samples):
        raise UserError(f"{samples.source}: no images")
    return len(write_shards(samples, output, size=parse_size(size), **options).index)
