"""Parquet files with the bytes of images, as Hugging Face stores them, here or at an address."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transfer.arguments import checked
from keras_transfer.arguments.names import NamesOrFile
from keras_transfer.arguments.types import AnyPath, NonNegative, Switch
from keras_transfer.data.samples import SampleTable, make_samples
from keras_transfer.data.sharded.blocks import DamagedShard
from keras_transfer.data.sharded.cache import BlockCache
from keras_transfer.data.sharded.files import BlockFiles
from keras_transfer.data.sharded.parquet import ParquetBlock, arrow, opened
from keras_transfer.data.sharded.places import CannotRead, Place, expand, join
from keras_transfer.data.sharded.store import Located, ShardStore
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.data.sources._labels import class_names, index_labels
from keras_transfer.data.sources._several import from_names
from keras_transfer.data.sources._webdataset import splits_of
from keras_transfer.data.sources.shards import SHARD_CACHE, as_wanted, window_of
from keras_transfer.errors import UserError, nearest
from keras_transfer.runtime import cache_dir

IMAGES = ("image", "img", "images", "picture", "photo", "bytes")
LABELS = ("label", "labels", "class", "target", "fine_label", "class_name", "category", "y")


@checked
def load(
    path: AnyPath,
    classes: NamesOrFile = None,
    shard_cache: NonNegative = SHARD_CACHE,
    skip_damaged_shards: Switch = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> SampleTable:
    """Read Parquet files that hold images: a column of bytes, or of structs `{bytes, path}`; and a column of labels.

    Row groups are fetched as wholes and taken apart into the cache of shards; labels are read when the data are opened.

    Args:
        path: a file, a folder of them, or `*.parquet` or `{00..09}.parquet`; local or an address, as for shards.
        classes: class names in label order; by default those that Hugging Face's metadata names, or the labels themselves.
        shard_cache: GiB of row groups that are kept on this machine; see `sources.shards.load`.
        skip_damaged_shards: leave out files that are missing or damaged, with a warning, in place of an error.
        image_column: name of the column of images; by default one of `IMAGES`.
        label_column: name of the column of labels: numbers, names, or lists of them; by default one of `LABELS`.

    Raises:
        UserError: no files, no such column, a missing or damaged file, an image without a label.
    """
    arrow()
    address = os.fspath(path).removeprefix("file://")
    place = Place(address)
    limit, wanted = int(shard_cache * (1 << 30)), class_names(classes)
    paths = _files_at(place, address)
    parts, notes = [], []
    for name, split, detail in zip(paths, splits_of(paths), place.sizes(paths)):
        try:
            if isinstance(detail, CannotRead):
                raise DamagedShard(name, "it is missing")
            parts.append(_Part(place, name, split, repr(detail), image_column, label_column))
        except DamagedShard as error:
            if not skip_damaged_shards:
                raise
            notes.append(f"warning: left out: {name}: {error.reason}")
    if not parts:
        raise UserError(f"{address}: none of the files can be read")
    return _samples(parts, wanted, limit, f"parquet {address}", notes)


def _files_at(place: Place, address: str) -> list[str]:
    is_folder = not set("*?{") & set(address) and not address.lower().endswith(".parquet")
    patterns = [join(address, "*.parquet"), join(address, "*/*.parquet")] if is_folder else expand(address)
    found = sorted({path for pattern in patterns for path in place.find(pattern)})
    if not found:
        raise UserError(f"{address!r}: no .parquet files there")
    return found


class _Part:
    """One file: its blocks, labels and names."""

    def __init__(self, place: Place, path: str, split: str, version: str, image: str | None, label: str | None):
        with opened(place, path) as file:
            names = file.schema_arrow.names
            self.image = _column(image, IMAGES, names, f"{path}: image_column")
            self.label = _column(label, LABELS, names, f"{path}: label_column")
            self.classes = _features(file.schema_arrow, self.label)
            self.labels = file.read(columns=[self.label]).column(0).to_pylist()
            meta = file.metadata
            self.rows = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
            self.blocks = [
                ParquetBlock(
                    place, path, version, k, self.image, _bytes(meta.row_group(k), self.image) + 8 * (rows + 1)
                )
                for k, rows in enumerate(self.rows)
            ]
        self.path, self.split = path, split


def _column(given: str | None, usual: Sequence[str], names: Sequence[str], what: str) -> str:
    if given is not None and given not in names:
        raise UserError(f"{what}: no column {given!r}{nearest(given, names)} (there are: {', '.join(names)})")
    found = given or next((name for name in usual if name in names), None)
    if found is None:
        raise UserError(f"{what}: expected one of {', '.join(usual)}; there are: {', '.join(names)}")
    return found


def _bytes(group: Any, column: str) -> int:
    """Return the bytes of a column and of the columns within it."""
    parts = [group.column(k) for k in range(group.num_columns)]
    return sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] == column)


def _features(schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the class names in Hugging Face's metadata, if there are any."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        about = about.get("feature", about)  # of a list of labels
        return tuple(map(str, about["names"])) if about["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _samples(
    parts: Sequence[_Part], wanted: tuple[str, ...] | None, limit: int, source: str, notes: list[str]
) -> SampleTable:
    blocks = [block for part in parts for block in part.blocks]
    rows = [count for part in parts for count in part.rows]
    window, told = window_of([block.size for block in blocks], limit, source)
    stems = [part.path.rpartition("/")[2].removesuffix(".parquet") for part in parts]
    stems = stems if len(set(stems)) == len(stems) else [part.path.removesuffix(".parquet") for part in parts]
    names = Texts.of(f"{stem}/{k:09d}" for stem, part in zip(stems, parts) for k in range(len(part.labels)))
    known, labels = _labels(parts, source)
    known, labels = as_wanted(known, labels, wanted, source)
    located = Located(
        BlockFiles(blocks, BlockCache(cache_dir() / "shards", limit)),
        names,
        np.repeat(np.arange(len(blocks), dtype=np.int32), rows),
        np.concatenate([np.arange(count, dtype=np.int64) for count in rows]),
        None,
        window,
    )
    split = [part.split for part in parts for _ in part.labels]
    notes = [
        f"{len(parts)} files, {len(blocks)} row groups, {sum(b.size for b in blocks) / 1e9:,.2f} GB",
        *notes,
        *told,
    ]
    return make_samples(known, ShardStore(located), labels, split, source=source, notes=notes)


def _labels(parts: Sequence[_Part], source: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names and labels; raises UserError for an image without one."""
    values = [value for part in parts for value in part.labels]
    names = parts[0].classes
    numbered = names is not None and all(part.classes == names for part in parts)
    missing = next((i for i, value in enumerate(values) if value is None or value == ""), None)
    if missing is not None:
        raise UserError(f"{source}: row {missing} has no label")

    def text(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise UserError(
                f"{source}: expected labels that are numbers, names or lists of them, received {str(value)[:60]!r}"
            )
        if numbered and names is not None and isinstance(value, int):
            if not 0 <= value < len(names):
                raise UserError(f"{source}: the label {value} is not one of the {len(names)} classes")
            return names[value]
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    given = names if numbered else None
    if any(isinstance(value, list) for value in values):
        lists = [[text(one) for one in (value if isinstance(value, list) else [value])] for value in values]
        return from_names(lists, given, lambda i: f"{source}: row {i}")
    written = list(map(text, values))
    if given is not None:
        place = {name: k for k, name in enumerate(given)}
        return given, np.array([place[name] for name in written], np.int64)
    return index_labels(written, None, lambda i: f"{source}: row {i}")
