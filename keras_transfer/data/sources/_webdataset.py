"""The index of tar files in WebDataset's layout that were written by others: made from their headers, once, and kept.

A sample is the files with one name up to the first point: `000017.jpg`, `000017.cls`, `000017.json`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np

from keras_transfer.console import progress
from keras_transfer.data.archive import check_end
from keras_transfer.data.images.heif import reads_suffix
from keras_transfer.data.images.protocols import new_owner
from keras_transfer.data.images.store import IMAGE_SUFFIXES
from keras_transfer.data.leftovers import is_leftover
from keras_transfer.data.sharded.blocks import DamagedShard, TarBlock
from keras_transfer.data.sharded.checking import refuse
from keras_transfer.data.sharded.files import BlockFiles
from keras_transfer.data.sharded.index import INDEX, SPLITS, Shard, ShardIndex, read_index
from keras_transfer.data.sharded.places import CannotRead, Place, join
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.data.sources._labels import index_labels
from keras_transfer.data.sources._several import from_names
from keras_transfer.data.sources._split_names import SPLIT_FOLDERS
from keras_transfer.errors import UserError
from keras_transfer.runtime import cache_dir
from keras_transfer.safety import Refused

_KEPT = 2  # version of how labels are found, part of the key of a kept index
MAX_HEADER = 1 << 20
MAX_LABEL = 1 << 20  # bytes of a file with a label
MAX_MEMBERS = 20_000_000
_TEXTS = ("cls", "label", "class", "txt")
_FIELDS = ("label", "labels", "class", "class_name", "cls", "category", "target")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
Label = str | list[str] | None


@dataclass
class Sample:
    """The files of one sample.

    Attributes:
        key: their common name.
        picture: extension, offset and length of the image.
        label: as written: a text, several of them, or None.
        fields: content of its `.json`.
    """

    key: str
    picture: tuple[str, int, int] | None = None
    label: Label = None
    fields: dict[str, Any] = field(default_factory=dict)


def samples_in(stream: IO[bytes], name: str, size: int, column: str | None) -> Iterator[Sample]:
    """Yield the samples of a tar file, of which only headers and labels are read.

    Args:
        stream: the file, which can be sought in.
        name: of the file in errors.
        size: of the file in bytes.
        column: what holds the label: an extension such as `cls`, or `json.FIELD`; None: the first of those that people use.

    Raises:
        tarfile.TarError, EOFError: not a tar file, or damaged.
        Refused: links, special files, or headers that take too much memory.
        UserError: a compressed file, or a sample with two pictures.
    """
    head = stream.read(6)
    stream.seek(0)
    if head.startswith(_PACKED):
        raise UserError(
            f"{name}: it is compressed, so that single images cannot be read; unpack it (gunzip {name.rpartition('/')[2]})"
        )
    sample = Sample("")
    with tarfile.open(fileobj=_Limited(stream, name), mode="r:") as tar:
        for number, member in enumerate(tar):
            if number > MAX_MEMBERS:
                raise Refused(name, f"more than {MAX_MEMBERS:,} files")
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise Refused(name, f"member {member.name[:200]!r} is a link or a special file")
            if member.offset_data + member.size > size:
                raise tarfile.ReadError(f"it ends within {member.name[:200]!r}")
            folder, _, base = member.name.rpartition("/")
            if is_leftover(base):
                continue
            stem, _, extension = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if key != sample.key:
                if sample.key:
                    yield sample
                sample = Sample(key)
            _add(sample, extension.lower(), member, tar.fileobj, name, column)  # type: ignore[arg-type]
            tar.members = []  # type: ignore[attr-defined]  # millions of headers would stay in memory
        stream.seek(tar.offset)
        check_end(stream.read(tarfile.BLOCKSIZE))
    if sample.key:
        yield sample


def _add(
    sample: Sample, extension: str, member: tarfile.TarInfo, stream: IO[bytes], name: str, column: str | None
) -> None:
    suffix = "." + extension.rpartition(".")[2]
    if suffix in IMAGE_SUFFIXES or reads_suffix(suffix):
        if sample.picture is not None:
            raise UserError(f"{name}: the sample {sample.key!r} has two pictures, {sample.picture[0]} and {extension}")
        sample.picture = extension, member.offset_data, member.size
        return
    wanted = "json" if column and column.partition(".")[0] == "json" else column
    if (
        (extension == "json" and wanted in (None, "json"))
        or extension == wanted
        or (wanted is None and extension in _TEXTS)
    ):
        if member.size > MAX_LABEL:
            raise UserError(f"{name}: {member.name!r} has {member.size:,} bytes, which is no label")
        here = stream.tell()
        stream.seek(member.offset_data)
        content = stream.read(member.size)
        stream.seek(here)
        _label(sample, extension, content, f"{name}: {member.name!r}", column)


def _label(sample: Sample, extension: str, content: bytes, where: str, column: str | None) -> None:
    try:
        text = content.decode("utf-8-sig").strip()
        if extension != "json":
            if sample.label is None or extension == "cls":
                sample.label = text
            return
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable as {'JSON' if extension == 'json' else 'text'}: {error}") from None
    if not isinstance(found, dict):
        found = {"label": found}
    sample.fields = found
    names = [column.partition(".")[2] or "label"] if column else [name for name in _FIELDS if name in found]
    ours = "name" in found and {"label", "labels"} & set(found)  # `.cls` then has the number of the class
    if names and names[0] in found and (column or ours or sample.label is None):
        sample.label = as_label(found[names[0]], where)


def as_label(value: Any, where: str) -> Label:
    """Return a label as text, or several; raises UserError for anything else than texts, numbers and lists of them."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [str(as_label(one, where)) for one in value]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UserError(f"{where}: expected a label, a text or a number, received {str(value)[:60]!r}")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def split_of(path: str) -> str:
    """Return the split that a path names (`train-0001.tar`, `imagenet1k-validation-12.tar`, `val/0001.tar`), or an empty string."""
    parts = path.rstrip("/").split("/")[-2:]
    for part in reversed(parts):
        for word in re.split(r"[^a-z]+", part.lower().removesuffix(".tar")):
            if word in SPLIT_FOLDERS:
                return SPLIT_FOLDERS[word]
    return ""


def splits_of(paths: Sequence[str]) -> list[str]:
    """Return the split of each shard: those in the names if one of them is train, else none."""
    found = [split_of(path) for path in paths]
    return found if "train" in found else [""] * len(found)


class _Limited(io.RawIOBase):
    """A stream that reads no header of any announced size in one piece, as `tarfile` does."""

    def __init__(self, stream: IO[bytes], name: str):
        self._stream, self._name = stream, name
        self.tell: Callable[[], int] = stream.tell
        self.seek: Callable[..., int] = stream.seek

    def read(self, size: int | None = -1) -> bytes:
        """Read that many bytes; raises Refused for more than any header has."""
        if size is None or size < 0 or size > MAX_HEADER:
            raise Refused(self._name, f"a header of {size} bytes")
        return self._stream.read(size)


def foreign_index(
    files: BlockFiles, blocks: Sequence[TarBlock], numbers: Sequence[int], column: str | None
) -> tuple[ShardIndex, dict[int, str]]:
    """Return the index of tar files, made of their headers or found where it was kept, and what is wrong with which shards.

    Args:
        files: of the blocks.
        blocks: the shards.
        numbers: of those that are there.
        column: see `samples_in`.

    Raises:
        UserError: a sample without a label, or no sample with a picture.
    """
    key = hashlib.sha256(
        repr(([(blocks[k].name, blocks[k].key) for k in numbers], len(blocks), column, _KEPT)).encode()
    ).hexdigest()
    folder, place = str(cache_dir() / "shards" / "indexes" / key[:32]), Place("")
    if place.exists(join(folder, INDEX)):
        with suppress(UserError):
            kept = read_index(place, folder)
            return replace(kept, shards=_shards(blocks)), {}
    found: dict[int, list[Sample]] = {}
    problems: dict[int, str] = {}
    owner = new_owner()
    with progress("reading the headers of shards", len(numbers)) as advance:
        for at, k in enumerate(numbers):
            files.announce(owner, list(numbers[at:]))
            try:
                with _opened(files, k) as stream:
                    found[k] = list(samples_in(stream, blocks[k].name, blocks[k].size, column))
            except (tarfile.TarError, EOFError) as error:
                problems[k] = f"not a tar file, or damaged: {error}"
            except (DamagedShard, CannotRead) as error:
                problems[k] = getattr(error, "reason", str(error))
            advance(1)
    files.announce(owner, [])
    if problems and not any(found.values()):
        refuse(blocks, problems)
    index = _gathered(blocks, found)
    if not problems:
        with suppress(UserError):  # a cache that cannot be written only costs time
            numbered = tuple(replace(shard, name=f"{number}.tar") for number, shard in enumerate(index.shards))
            replace(index, shards=numbered).write(place, folder)
    return index, problems


def _opened(files: BlockFiles, number: int) -> IO[bytes]:
    return os.fdopen(os.dup(files.file(number).fd), "rb")


def _shards(blocks: Sequence[TarBlock]) -> tuple[Shard, ...]:
    return tuple(Shard(block.name, block.size, "", 0) for block in blocks)


def _gathered(blocks: Sequence[TarBlock], found: dict[int, list[Sample]]) -> ShardIndex:
    """Return the index of the samples that have a picture."""
    splits = splits_of([block.name for block in blocks])
    kept = [(k, sample) for k, samples in found.items() for sample in samples if sample.picture is not None]
    if not kept:
        shown = ", ".join(block.name.rpartition("/")[2] for block in blocks[:5])
        raise UserError(f"{shown}: no pictures in these tar files: expected files such as 000001.jpg and 000001.cls")
    classes, labels = _labels(blocks, kept)
    names = _names(blocks, kept)
    places = np.array([sample.picture[1:] for _, sample in kept if sample.picture], np.int64)
    return ShardIndex(
        _shards(blocks), classes, np.array([k for k, _ in kept], np.int32), places[:, 0].copy(), places[:, 1].copy(), labels,
        np.array([SPLITS.index(splits[k]) for k, _ in kept], np.uint8), Texts.of(names),
    )  # fmt: skip


def _names(blocks: Sequence[TarBlock], kept: Sequence[tuple[int, Sample]]) -> list[str]:
    """Return a name for each sample, unlike those of the others."""
    own = [sample.fields.get("name") for _, sample in kept]
    if all(isinstance(name, str) and name for name in own) and len(set(own)) == len(own):  # ours, whose index is lost
        return [str(name) for name in own]
    names = [f"{sample.key}.{sample.picture[0]}" for _, sample in kept if sample.picture]
    if len(set(names)) < len(names):  # numbered anew in each shard
        stems = _stems([block.name for block in blocks])
        names = [f"{stems[k]}/{name}" for (k, _), name in zip(kept, names)]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UserError(f"two samples are called {twice!r}")
    return names


def _stems(paths: Sequence[str]) -> list[str]:
    """Return a short name for each shard, unlike those of the others."""
    stems = [path.rpartition("/")[2].removesuffix(".tar") for path in paths]
    return (
        stems
        if len(set(stems)) == len(stems)
        else ["-".join(path.split("/")[-2:]).removesuffix(".tar") for path in paths]
    )


def _labels(blocks: Sequence[TarBlock], kept: Sequence[tuple[int, Sample]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return class names and labels; where no sample has a label, its folder in the tar file is its class."""

    def where(i: int) -> str:
        return f"{blocks[kept[i][0]].name}: {kept[i][1].key!r}"

    written = [sample.label for _, sample in kept]
    if all(label is None for label in written):
        written = [sample.key.rpartition("/")[0].rpartition("/")[2] or None for _, sample in kept]
    missing = next((i for i, label in enumerate(written) if label in (None, "")), None)
    if missing is not None:
        raise UserError(
            f"{where(missing)} has no label: expected a file of the same name that ends in .cls, .txt or .json with {', '.join(_FIELDS[:3])}; "
            "or say with label_column where it is"
        )
    if any(isinstance(label, list) for label in written):
        return from_names([label if isinstance(label, list) else [str(label)] for label in written], None, where)
    return index_labels([str(label) for label in written], None, where)
