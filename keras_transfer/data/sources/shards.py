"""Tar shards in WebDataset's layout, here or at an address, with an index of ours or without."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from keras_transfer.arguments import checked
from keras_transfer.arguments.names import NamesOrFile
from keras_transfer.arguments.types import AnyPath, NonNegative, Switch
from keras_transfer.data.samples import SampleTable, make_samples
from keras_transfer.data.sharded.blocks import TarBlock
from keras_transfer.data.sharded.cache import BlockCache
from keras_transfer.data.sharded.checking import fetched_problems, problems_of, refuse
from keras_transfer.data.sharded.files import BlockFiles
from keras_transfer.data.sharded.index import INDEX, SPLITS, ShardIndex, read_index
from keras_transfer.data.sharded.places import CannotRead, Place, expand, join
from keras_transfer.data.sharded.store import Located, ShardStore
from keras_transfer.data.sources._labels import class_names, index_labels
from keras_transfer.data.sources._webdataset import foreign_index
from keras_transfer.errors import UserError
from keras_transfer.runtime import cache_dir

SHARD_CACHE = 20.0
"""GiB of fetched shards that are kept by default."""


@checked
def load(
    path: AnyPath,
    classes: NamesOrFile = None,
    shard_cache: NonNegative = SHARD_CACHE,
    skip_damaged_shards: Switch = False,
    label_column: str | None = None,
) -> SampleTable:
    """Read tar shards: those that `keras-transfer shard` wrote, by their index; those of others by one that is made of their headers.

    Args:
        path: folder with shards; or shards as `train-{0000..0099}.tar` or `*.tar`; local or an address (`s3://`, `gs://`, `hf://`,
            `http://` …, see `places.SCHEMES`).
        classes: class names in label order; by default those of the index, or the labels themselves.
        shard_cache: GiB of fetched shards that are kept on this machine. Where all fit, the order of an epoch is that of any other data;
            where not, shards are shuffled, and the images of those that fit into half of it are shuffled together.
        skip_damaged_shards: leave out the images of shards that are missing or damaged, with a warning, in place of an error. Remote
            shards are then all fetched once before training.
        label_column: of shards without an index of ours, what holds the label: an extension, or `json.FIELD`.

    Raises:
        UserError: no shards, a missing or damaged one, a sample without a label, an address with credentials.
    """
    address = os.fspath(path).removeprefix("file://")
    place = Place(address)
    limit = int(shard_cache * (1 << 30))
    cache = BlockCache(cache_dir() / "shards", limit) if place.remote else None
    folder = address.removesuffix(f"/{INDEX}").rstrip("/")
    if _is_indexed(place, folder):
        if label_column is not None:
            raise UserError(f"{folder}: label_column is for shards of others; the index of these has their labels")
        index = read_index(place, folder)
        paths = [join(folder, shard.name) for shard in index.shards]
        blocks = [TarBlock(place, p, s.size, s.sha256) for p, s in zip(paths, index.shards)]
        files = BlockFiles(blocks, cache)
        problems = problems_of(place, blocks)
        if skip_damaged_shards and cache is not None:
            problems |= {k: what for k, what in fetched_problems(files, blocks).items() if k not in problems}
    else:
        paths = _shards_at(place, address)
        blocks, problems = _blocks(place, paths)
        files = BlockFiles(blocks, cache)
        if not skip_damaged_shards:
            refuse(blocks, problems)
        index, found = foreign_index(files, blocks, [k for k in range(len(blocks)) if k not in problems], label_column)
        problems |= found
    if not skip_damaged_shards:
        refuse(blocks, problems)
    return _samples(index, files, blocks, problems, class_names(classes), limit, f"shards {address}")


def _is_indexed(place: Place, folder: str) -> bool:
    return not set("*?{") & set(folder) and not folder.lower().endswith(".tar") and place.exists(join(folder, INDEX))


def _shards_at(place: Place, address: str) -> list[str]:
    """Return the paths of the tar files that an address stands for."""
    is_folder = not set("*?{") & set(address) and not address.lower().endswith(".tar")
    patterns = [join(address, "*.tar"), join(address, "*/*.tar")] if is_folder else expand(address)
    try:
        found = [path for pattern in patterns for path in place.find(pattern)]
    except CannotRead as error:
        raise UserError(
            f"{error}; where a server lists no files, name the shards: {join(address, 'train-{0000..0099}.tar')}"
        ) from None
    if not found:
        hint = "; where a server lists no files, name them as train-{0000..0099}.tar" if place.remote else ""
        raise UserError(f"{address!r}: no index.json and no .tar files there (for Parquet files: source parquet){hint}")
    return sorted(dict.fromkeys(found))


def _blocks(place: Place, paths: Sequence[str]) -> tuple[list[TarBlock], dict[int, str]]:
    """Return the shards and what is wrong with those that cannot be read."""
    blocks, problems = [], {}
    for number, (path, detail) in enumerate(zip(paths, place.sizes(paths))):
        size, version = (0, "") if isinstance(detail, CannotRead) else detail
        blocks.append(TarBlock(place, path, size, "", version))
        if isinstance(detail, CannotRead):
            problems[number] = blocks[-1].problem(detail)
    return blocks, problems


def _samples(
    index: ShardIndex,
    files: BlockFiles,
    blocks: Sequence[TarBlock],
    problems: dict[int, str],
    wanted: tuple[str, ...] | None,
    limit: int,
    source: str,
) -> SampleTable:
    """Return the samples of an index without those of shards with problems."""
    rows = np.flatnonzero(~np.isin(index.shard, list(problems)))
    notes = [f"{len(blocks) - len(problems)} shards, {sum(b.size for b in blocks) / 1e9:,.2f} GB"]
    for number, what in problems.items():
        count = int((index.shard == number).sum())
        lost = f"{count} images are left out" if count or index.shards[number].sha256 else "its images are left out"
        notes.append(f"warning: {lost}: shard {blocks[number].name}: {what}")
    window = 0
    if files.cache is not None:
        used = [block.size for number, block in enumerate(blocks) if number not in problems]
        window, told = window_of(used, limit, source)
        notes += told
    ranges = (
        None if index.ranges is None else {int(row): (int(low), int(high)) for row, low, high in index.ranges.tolist()}
    )
    located = Located(files, index.names, index.shard, index.offset, index.length, window, index.digests, ranges)
    known, labels = as_wanted(index.classes, index.labels[rows], wanted, source)
    store = ShardStore(located, rows)
    return make_samples(
        known,
        store,
        labels,
        np.array(SPLITS, object)[index.split[rows]],
        None if index.weights is None else index.weights[rows],
        None if index.groups is None else np.array([index.groups[row] for row in rows.tolist()], object),
        source,
        notes,
    )


def window_of(sizes: Sequence[int], limit: int, source: str) -> tuple[int, list[str]]:
    """Return how many blocks of these sizes are shuffled together (0: all), and a note on it.

    Raises:
        UserError: the cache cannot hold two of them.
    """
    largest = max(sizes, default=0)
    if sum(sizes) <= limit:
        return 0, []
    if 2 * largest > limit:
        raise UserError(
            f"{source}: the cache of {limit / 1e9:,.3f} GB is too small: expected shard_cache of at least two shards, "
            f"{2 * largest / (1 << 30):.3g} (GiB)"
        )
    window = int(limit // 2 // largest)
    return window, [
        f"more than the shard_cache of {limit / (1 << 30):g} GiB: shards are shuffled, and the images of {window} at a time together"
    ]


def as_wanted(
    classes: tuple[str, ...], labels: np.ndarray, wanted: tuple[str, ...] | None, source: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names and labels in the order that is asked for.

    Raises:
        UserError: a label that occurs is not one of the wanted classes.
    """
    if wanted is None:
        return classes, labels
    present = np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.unique(labels)
    known, places = index_labels([classes[k] for k in present.tolist()], wanted, lambda _: source)
    table = np.zeros(len(classes), np.int64)
    table[present] = places
    if labels.ndim == 1:
        return known, table[labels]
    moved = np.zeros((len(labels), len(known)), np.uint8)
    moved[:, places] = labels[:, present]
    return known, moved
