"""The index of shards: which files there are, and where in them each image lies. It makes every image readable by itself.

``index.json`` has a line for people and one entry a shard: name, size in bytes, SHA-256 and number of images. ``index.npz`` has the
columns, a row an image, in the order in which the images lie in the shards.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_transfer.data.images.store import MAX_FILE_BYTES
from keras_transfer.data.sharded.places import Place, join
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.errors import UserError
from keras_transfer.safety.archive import read_npz

FORMAT, VERSION = "keras_transfer shards", 1
INDEX, COLUMNS = "index.json", "index.npz"
SPLITS = ("", "train", "val", "test")
MAX_JSON = 1 << 28
_REQUIRED = {"shard": "<i4", "offset": "<i8", "length": "<i8", "split": "|u1", "names": "|u1", "name_ends": "<i8"}
_OPTIONAL = {"labels": None, "weights": "<f4", "groups": "|u1", "group_ends": "<i8", "digests": "|u1", "ranges": "<i8"}


@dataclass(frozen=True)
class Shard:
    """A file with images.

    Attributes:
        name: its path relative to the index; or, of shards without an index of ours, the whole path or address.
        size: bytes.
        sha256: hex SHA-256 of the file; empty if it is not known.
        samples: number of images.
    """

    name: str
    size: int
    sha256: str
    samples: int


@dataclass(frozen=True)
class ShardIndex:
    """Where images lie, and what is known about them; rows in the order of the shards.

    Attributes:
        shards: the files.
        classes: class names; empty if the labels are not indices yet.
        shard: int32 (n,), index into `shards`.
        offset: int64 (n,), of the first byte of the image file in its shard.
        length: int64 (n,), bytes.
        labels: int64 (n,), or uint8 (n, C) of 0 and 1.
        split: uint8 (n,), index into `SPLITS`.
        names: of the images, each once.
        weights: float32 (n,), or None.
        groups: texts, "" for no group; or None.
        digests: uint8 (n, 16), hash of each image file if it has been decoded once without an error; or None.
        ranges: int64 (m, 3): row, smallest and largest value of each 16-bit image; or None.
    """

    shards: tuple[Shard, ...]
    classes: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    names: Texts
    weights: np.ndarray | None = None
    groups: Texts | None = None
    digests: np.ndarray | None = None
    ranges: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.shard)

    def columns(self) -> bytes:
        """Return the content of ``index.npz``."""
        arrays: dict[str, np.ndarray] = {
            "shard": self.shard, "offset": self.offset, "length": self.length, "labels": self.labels, "split": self.split,
            "names": self.names.content, "name_ends": self.names.ends,
        }  # fmt: skip
        given = {"weights": self.weights, "digests": self.digests, "ranges": self.ranges}
        arrays |= {name: part for name, part in given.items() if part is not None}
        if self.groups is not None:
            arrays |= {"groups": self.groups.content, "group_ends": self.groups.ends}
        stream = io.BytesIO()
        np.savez(stream, **{name: np.asarray(part) for name, part in arrays.items()})  # type: ignore[arg-type]
        return stream.getvalue()

    def write(self, place: Place, folder: str, **notes: Any) -> None:
        """Write both files, ``index.json`` last: a folder that has it is complete."""
        columns = self.columns()
        place.write(join(folder, COLUMNS), columns)
        head = {
            "format": FORMAT,
            "version": VERSION,
            "images": len(self),
            "classes": list(self.classes),
            "columns": {"size": len(columns), "sha256": hashlib.sha256(columns).hexdigest()},
            **notes,
        }
        shards = ",\n".join(
            json.dumps({"name": s.name, "size": s.size, "sha256": s.sha256, "images": s.samples}) for s in self.shards
        )
        text = json.dumps(head, indent=1, ensure_ascii=False)[:-2] + f',\n "shards": [\n{shards}\n]\n}}\n'
        place.write(join(folder, INDEX), text.encode("utf-8", "surrogateescape"))


def read_index(place: Place, folder: str) -> ShardIndex:
    """Read the index in a folder.

    Raises:
        UserError: it is missing, damaged, of another version, or names bytes that its shards do not have.
    """
    path = join(folder, INDEX)
    head = read_head(place, folder)
    content = place.read(join(folder, COLUMNS), 1 << 36)
    try:
        shards = tuple(
            Shard(str(s["name"]), int(s["size"]), str(s["sha256"]), int(s["images"])) for s in head["shards"]
        )
        classes = tuple(map(str, head["classes"]))
        if hashlib.sha256(content).hexdigest() != head["columns"]["sha256"]:
            raise ValueError(f"{COLUMNS} is not the one that it was written with")
        found = read_npz(io.BytesIO(content), join(folder, COLUMNS), [*_REQUIRED, *_OPTIONAL])
        return _checked(shards, classes, found)
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not an index of shards, or damaged: {error}") from None


def read_head(place: Place, folder: str) -> dict[str, Any]:
    """Return the content of ``index.json``; raises UserError unless it is an index of this version."""
    path = join(folder, INDEX)
    try:
        head = json.loads(place.read(path, MAX_JSON).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not an index of shards: {error}") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UserError(f"{path}: not an index of shards (expected the format {FORMAT!r})")
    if head.get("version") != VERSION:
        raise UserError(f"{path}: version {head.get('version')!r} of the index, this program reads {VERSION}")
    return head


def _checked(shards: tuple[Shard, ...], classes: tuple[str, ...], found: dict[str, np.ndarray]) -> ShardIndex:
    """Return the index; raises ValueError where a column has another type, length or range."""
    for one in shards:
        parts = one.name.split("/")
        if one.size < 0 or {"..", ""} & set(parts) or set("\\:") & set(one.name):
            raise ValueError(f"the shard {one.name[:80]!r} is outside of the folder")
    if missing := sorted({*_REQUIRED, "labels"} - set(found)):
        raise ValueError(f"no column {', '.join(missing)}")
    for name, dtype in {**_REQUIRED, **_OPTIONAL}.items():
        if name in found and dtype is not None and found[name].dtype != np.dtype(dtype):
            raise ValueError(f"the column {name} has the type {found[name].dtype}, expected {dtype}")
    shard, offset, length, labels = found["shard"], found["offset"], found["length"], found["labels"]
    count = len(shard)
    for name in ("offset", "length", "labels", "split", "name_ends", "weights", "digests", "group_ends"):
        if name in found and len(found[name]) != count:
            raise ValueError(f"{len(found[name])} rows in the column {name}, expected {count}")
    if count:
        sizes = np.array([s.size for s in shards], np.int64)
        if not len(shards) or shard.min() < 0 or shard.max() >= len(shards) or (np.diff(shard) < 0).any():
            raise ValueError("an image in a shard that is not listed")
        if (
            offset.min() < 0
            or length.min() < 0
            or length.max() > MAX_FILE_BYTES
            or (offset > sizes[shard] - length).any()
        ):
            raise ValueError("an image outside of its shard")
        if found["split"].max() >= len(SPLITS):
            raise ValueError("an unknown split")
        check_labels(labels, len(classes))
    if "digests" in found and found["digests"].shape != (count, 16):
        raise ValueError("hashes of another length")
    return ShardIndex(
        shards, classes, shard, offset, length, labels, found["split"], Texts(found["names"], found["name_ends"]),
        found.get("weights"), Texts(found["groups"], found["group_ends"]) if "groups" in found else None,
        found.get("digests"), found.get("ranges"),
    )  # fmt: skip


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise ValueError unless labels are int64 (n,) below the number of classes, or uint8 (n, C) of 0 and 1."""
    one = labels.ndim == 1 and labels.dtype == np.int64
    several = labels.ndim == 2 and labels.dtype == np.uint8 and labels.shape[1] == classes
    if not (one or several) or labels.min() < 0 or labels.max() >= (classes if one else 2):
        raise ValueError(f"labels that do not fit {classes} classes")


def joined(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    """Return arrays one after the other; of none, an empty one."""
    return np.concatenate([np.asarray(part, dtype) for part in parts]) if parts else np.empty(0, dtype)
