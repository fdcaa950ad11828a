"""Write any samples as shards: checked while they are read, in a seeded order, and continued where a killed writing has stopped."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from keras_transfer.console import progress
from keras_transfer.data import rng
from keras_transfer.data.checks.verify import listed, resolve_workers
from keras_transfer.data.images.store import EncodedImage, Image
from keras_transfer.data.samples import BadImage, SampleTable, fingerprint
from keras_transfer.data.sharded.index import INDEX, SPLITS, Shard, ShardIndex, joined, read_head, read_index
from keras_transfer.data.sharded.places import Place, join
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.data.writing.tar import Record, TarShard
from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write
from keras_transfer.typing import Say

UNFINISHED = "unfinished"
"""Folder, within the output, of the indexes of shards that are complete, until all are."""
MIN_SIZE, MAX_SIZE = 10_000, 1 << 40
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)\Z")


def parse_size(text: str | int) -> int:
    """Return a number of bytes from text such as `256MB` or `1 GiB`.

    Raises:
        UserError: anything else, or less than 10 kB.
    """
    found = _SIZE.match(str(text).strip())
    unit = None if found is None else _UNITS.get(found[2].upper())
    if found is None or unit is None:
        raise UserError(f"size: expected a number of bytes such as 256MB or 1GiB, received {text!r}")
    size = int(float(found[1]) * unit)
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size: expected 10kB to 1TiB, received {text!r}")
    return size


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        index: of all shards.
        bad: (name, reason) of the images that were left out because they cannot be read.
        resumed: shards that an earlier, interrupted writing had finished.
        complete: whether everything was there before.
    """

    index: ShardIndex
    bad: list[tuple[str, str]]
    resumed: int = 0
    complete: bool = False


def write_shards(
    samples: SampleTable,
    output: str,
    *,
    size: int = 256 * 10**6,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
    workers: int | str = "auto",
    say: Say = lambda _: None,
) -> Written:
    """Write samples as shards with an index, each split for itself, in an order that is shuffled by the seed.

    Every image is decoded once, so that reading the shards need not do that again. Image files are copied byte by byte; images in memory
    become PNG files. The same samples, size and seed give the same bytes. A shard appears when it is complete, the index when all are.

    Args:
        samples: what to write; their splits as they are.
        output: a folder, or an address that fsspec can write to.
        size: bytes of a shard, at most, unless one image takes more.
        seed: of the order.
        on_bad_image: "error" writes no more after an unreadable image and lists all of them; "skip" leaves them out.
        workers: threads that read and decode.
        say: is told what an earlier writing has finished.

    Raises:
        UserError: unreadable images, an output that holds something else, or cannot be written.
    """
    place = Place(output)
    plan = _plan_digest(samples, size, seed, on_bad_image)
    if place.exists(join(output, INDEX)) and read_head(place, output).get("plan") == plan:
        return Written(read_index(place, output), [], complete=True)
    writer = ShardWriter(samples, place, output, plan, size, on_bad_image)
    for split, rows in _in_order(samples, seed):
        writer.write(split, rows, max(resolve_workers(workers), 1))
    if writer.bad and on_bad_image == "error":
        head = f"{len(writer.bad)} of {len(samples)} images cannot be read (--on-bad-image skip leaves them out):"
        raise UserError(f"{head}\n{listed(sorted(writer.bad))}")
    return writer.finished(seed)


def _plan_digest(samples: SampleTable, size: int, seed: int, on_bad_image: str) -> str:
    """Return what all bytes of the output follow from, in hex."""
    digest = hashlib.sha256(f"{fingerprint(samples)} {size} {seed} {on_bad_image} 1".encode())
    for stamp in samples.images.stamps():
        digest.update(stamp)
    digest.update("\0".join(samples.split.tolist()).encode())
    if samples.groups is not None:
        digest.update("\0".join(map(str, samples.groups.tolist())).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _in_order(samples: SampleTable, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each split and its rows in the order in which they are written."""
    order = rng.permutation(len(samples), seed, rng.WRITTEN)
    for split in SPLITS:
        rows = order[(samples.split == split)[order]]
        if len(rows):
            yield split, rows


class ShardWriter:
    """Writes the shards of one output.

    Raises:
        UserError: the output holds something else.
    """

    def __init__(self, samples: SampleTable, place: Place, output: str, plan: str, size: int, on_bad_image: str):
        self.samples, self.place, self.output, self.plan, self.size = samples, place, output.rstrip("/"), plan, size
        self.skips = on_bad_image == "skip"
        self.bad: list[tuple[str, str]] = []
        self.parts: list[dict[str, Any]] = []
        self.shards: list[Shard] = []
        self.resumed = self.numbers = 0
        self._check_output()

    def _check_output(self) -> None:
        """Refuse a folder with shards of something else, and remove what a killed writing has left of the last shard."""
        if not self.place.remote and Path(self.output).is_file():
            raise UserError(f"{self.output}: it is a file; expected a folder for the shards")
        if self.place.exists(join(self.output, INDEX)):
            raise UserError(f"{self.output}: it holds other shards already; name a new folder, or remove it")
        if self.place.remote:
            return
        folder = Path(self.output)
        left = folder / UNFINISHED / "plan.json"
        if left.is_file() and json.loads(left.read_text()).get("plan") != self.plan:
            raise UserError(
                f"{self.output}: it holds an unfinished writing of other images, or with other options; name a new folder, or remove it"
            )
        if not left.is_file() and folder.is_dir() and any(folder.glob("*.tar")):
            raise UserError(f"{self.output}: it holds tar files without an index; name a new folder, or remove them")
        for path in folder.glob(".*.part"):
            path.unlink(missing_ok=True)
        with atomic_write(left, "w") as stream:
            json.dump({"plan": self.plan}, stream)

    def write(self, split: str, rows: np.ndarray, threads: int) -> None:
        """Write the shards of one split."""
        number = done = 0
        while (kept := self._kept(self._name(split, number))) is not None:
            number, done = number + 1, done + kept
        self.resumed += number
        with (
            _reading(self.samples, rows[done:], threads) as records,
            progress(f"shards {split}".strip(), len(rows)) as advance,
        ):
            advance(done)
            waiting: deque[Record | BadImage] = deque()
            while record := self.following(records, waiting):
                if self.bad and not self.skips:  # nothing is written any more, but all bad images are listed
                    self.bad += [(record.name, record.reason)] if isinstance(record, BadImage) else []
                    continue
                waiting.appendleft(record)
                self.write_shard(split, number, records, waiting, advance)
                number += 1

    def following(
        self, records: Iterator[Record | BadImage], waiting: deque[Record | BadImage]
    ) -> Record | BadImage | None:
        """Return the next image, None after the last."""
        return waiting.popleft() if waiting else next(records, None)

    def write_shard(
        self,
        split: str,
        number: int,
        records: Iterator[Record | BadImage],
        waiting: deque[Record | BadImage],
        advance: Callable[[int], None],
    ) -> None:
        """Write one shard and its index."""
        name, bad, taken = self._name(split, number), [], 0
        with self._target(name) as (stream, commit):
            shard = TarShard(stream, self.numbers)
            while record := self.following(records, waiting):
                if isinstance(record, Record) and shard.records and shard.size_with(record) > self.size:
                    waiting.appendleft(record)
                    break
                taken += 1
                advance(1)
                if isinstance(record, BadImage):
                    bad.append((record.name, record.reason))
                    if not self.skips:
                        break
                    continue
                label, about = self._about(record.row)
                shard.add(record, label, about)
            self.bad += bad
            if bad and not self.skips:
                return
            if shard.records:
                sha256 = shard.end()
                stream.flush()
                commit()
                self._keep(name, shard, sha256, taken, bad)

    def _about(self, row: int) -> tuple[str, dict[str, object]]:
        samples, label = self.samples, self.samples.labels[row]
        chosen = np.flatnonzero(label).tolist() if samples.is_multi else [int(label)]
        names = [samples.classes[k] for k in chosen]
        about: dict[str, object] = {"labels": names} if samples.is_multi else {"label": names[0]}
        if samples.weights is not None:
            about["weight"] = float(samples.weights[row])
        if samples.groups is not None and samples.groups[row]:
            about["group"] = str(samples.groups[row])
        return " ".join(map(str, chosen)), about

    def _name(self, split: str, number: int) -> str:
        return f"{split}-{number:05d}" if split else f"{number:05d}"

    @contextmanager
    def _target(self, name: str) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
        """Open a file for a shard; once `commit` was called it takes its place at the end of the block."""
        done: list[bool] = []
        commit: Callable[[], None] = lambda: done.append(True)  # noqa: E731
        if self.place.remote:
            with tempfile.NamedTemporaryFile(prefix="keras_transfer_", suffix=".tar") as stream:
                yield stream, commit
                if done:
                    self.place.put(Path(stream.name), join(self.output, f"{name}.tar"))
            return
        with suppress(_NotCommitted), atomic_write(Path(self.output) / f"{name}.tar") as stream:
            yield stream, commit
            if not done:
                raise _NotCommitted

    def _keep(self, name: str, shard: TarShard, sha256: str, taken: int, bad: list[tuple[str, str]]) -> None:
        records = [record for record, _ in shard.records]
        columns: dict[str, Any] = {
            "rows": np.array([record.row for record in records], np.int64),
            "offset": np.array([offset for _, offset in shard.records], np.int64),
            "length": np.array([len(record.data) for record in records], np.int64),
            "digests": np.frombuffer(b"".join(record.digest for record in records), np.uint8).reshape(-1, 16),
            "ranges": np.array([(k, *r.values) for k, r in enumerate(records) if r.values], np.int64).reshape(-1, 3),
        }
        head = {"size": shard.size, "sha256": sha256, "taken": taken, "bad": bad, "images": len(records)}
        self._add(f"{name}.tar", head, columns)
        if not self.place.remote:
            stream = io.BytesIO()
            np.savez(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **columns)
            with atomic_write(Path(self.output) / UNFINISHED / f"{name}.npz") as file:
                file.write(stream.getvalue())

    def _add(self, name: str, head: dict[str, Any], columns: dict[str, Any]) -> None:
        self.shards.append(Shard(name, head["size"], head["sha256"], head["images"]))
        self.parts.append(columns)
        self.numbers += head["images"]

    def _kept(self, name: str) -> int | None:
        """Take over a shard that is complete: return how many images it was made of, or None if there is none."""
        path, tar = Path(self.output) / UNFINISHED / f"{name}.npz", Path(self.output) / f"{name}.tar"
        if self.place.remote or not path.is_file() or not tar.is_file():
            return None
        with np.load(path, allow_pickle=False) as kept:
            columns = {key: kept[key] for key in kept.files}
        head = json.loads(columns.pop("head").tobytes())
        if tar.stat().st_size != head["size"]:
            return None
        self._add(tar.name, head, columns)
        self.bad += [tuple(one) for one in head["bad"]]
        return int(head["taken"])

    def finished(self, seed: int) -> Written:
        """Write the index, remove the indexes of single shards, and return what was written."""
        samples, parts = self.samples, self.parts
        if not parts:
            raise UserError(f"{samples.source}: no images to write")
        rows = joined([part["rows"] for part in parts], np.int64)
        starts = np.cumsum([0, *(len(part["rows"]) for part in parts)])
        ranges = joined([part["ranges"] + np.array([start, 0, 0]) for part, start in zip(parts, starts)], np.int64)
        groups = samples.groups
        index = ShardIndex(
            tuple(self.shards),
            samples.classes,
            np.repeat(np.arange(len(parts), dtype=np.int32), [len(part["rows"]) for part in parts]),
            joined([part["offset"] for part in parts], np.int64),
            joined([part["length"] for part in parts], np.int64),
            samples.labels[rows],
            np.array([SPLITS.index(split) for split in samples.split[rows].tolist()], np.uint8),
            Texts.of(samples.images.name(row) for row in rows.tolist()),
            None if samples.weights is None else samples.weights[rows],
            None if groups is None else Texts.of(str(groups[row]) for row in rows.tolist()),
            joined([part["digests"] for part in parts], np.uint8),
            ranges if len(ranges) else None,
        )
        index.write(self.place, self.output, plan=self.plan, seed=seed)
        if not self.place.remote:
            for path in (Path(self.output) / UNFINISHED).iterdir():
                path.unlink()
            (Path(self.output) / UNFINISHED).rmdir()
        return Written(index, sorted(self.bad), self.resumed)


class _NotCommitted(Exception):
    """A shard that is not to be kept."""


@contextmanager
def _reading(samples: SampleTable, rows: np.ndarray, threads: int) -> Iterator[Iterator[Record | BadImage]]:
    """Read and decode images in threads, a few ahead, in the order of the rows."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="kt-shard")

    def records() -> Iterator[Record | BadImage]:
        ahead: deque[Future[Record | BadImage]] = deque()
        for row in rows.tolist():
            ahead.append(pool.submit(_record, samples, row))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    try:
        yield records()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _record(samples: SampleTable, row: int) -> Record | BadImage:
    """Return an image, decoded once, or why it cannot be read."""
    return record_of(row, samples.images.name(row), lambda: samples.images.open(row))


def record_of(row: int, name: str, opened: Callable[[], Image]) -> Record | BadImage:
    """Return an image that a function opens, decoded once, or why it cannot be read."""
    try:
        image = opened()
        if not isinstance(image, EncodedImage):
            image = EncodedImage(name, _png(image.pixels()))
        image.pixels()
    except BadImage as error:
        return error
    return Record(row, name, image.data, image.format, image.digest(), image.values)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


__all__ = ["Written", "parse_size", "write_shards"]
