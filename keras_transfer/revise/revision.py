"""The data of a run with other labels, more pictures or other classes, as a CSV file that a new run reads."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.images.store import FileStore, ImageStore
from keras_transfer.data.samples import DecodingStore
from keras_transfer.errors import UserError
from keras_transfer.files import write_text
from keras_transfer.revise.additions import Additions
from keras_transfer.revise.label_text import joined, names_of
from keras_transfer.runs.directory import REVISED
from keras_transfer.runtime import usable_cores

FILE, IMAGES = "data.csv", "images"


@dataclass(frozen=True)
class Row:
    """A picture of the revised data.

    Attributes:
        images: the store that holds it.
        place: its place there.
        label: class name; of several labels, all of them (:func:`~keras_transfer.revise.label_text.joined`).
        split: ``"train"``, ``"val"`` or ``"test"``.
        weight: of the sample.
        group: of the sample, or "".
        base: its row in the data of the old run, or None for a picture that was added.
        added: whether it, or its label, was added.
    """

    images: ImageStore
    place: int
    label: str
    split: str
    weight: float = 1.0
    group: str = ""
    base: int | None = None
    added: bool = False


@dataclass
class Revision:
    """The rows and classes of the revised data, and what was changed.

    Attributes:
        classes: class names, in label order.
        rows: the pictures.
        notes: what was done, one line each.
        renamed: old class name → new one, of classes that were renamed or merged.
        files: path → row, once they are saved.
        several: whether a picture may have several labels.
        withdrawn: how many test and validation pictures are trained on now, and no longer judge.
    """

    classes: tuple[str, ...]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    withdrawn: int = 0
    several: bool = False
    files: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Dataset) -> Revision:
        """Return the data of a run as they are."""
        table, everything = data.samples, data.all
        several = table.is_multi
        rows = [
            Row(
                table.images,
                i,
                joined(everything.names_of(i)) if several else data.classes[table.labels[i]],
                table.split[i],
                1.0 if table.weights is None else float(table.weights[i]),
                "" if table.groups is None else str(table.groups[i]),
                i,
            )
            for i in range(len(table))
        ]
        return cls(data.classes, rows, several=several)

    def names(self, label: str) -> list[str]:
        """Return the names in the label of a row."""
        return names_of(label, self.several)

    def add(self, new: Additions, keep: bool = False) -> None:
        """Add pictures. One that the data have already, by its content, gets the new label; a correction is trained on from now on.

        Args:
            new: the pictures.
            keep: of several labels, those that a picture of the data has stay beside the new ones.

        Raises:
            UserError: the same picture with two labels.
        """
        seen: dict[bytes, str] = {}
        own = _places(self.rows)
        counts = dict.fromkeys(("new", "relabelled", "known", "copies"), 0)
        for i, (label, split) in enumerate(zip(new.labels, new.split)):
            key, colours = digest(new.images, i), pixels_digest(new.images, i)
            if seen.setdefault(colours, label) != label:
                raise UserError(
                    f"{new.source}: {new.images.name(i)!r} is there with the labels {seen[colours]!r} and {label!r}"
                )
            places = own.get(key) or own.get(colours)
            if places is None:
                own[colours] = [len(self.rows)]
                weight, group = new.weights[i] if new.weights else 1.0, new.groups[i] if new.groups else ""
                self.rows.append(Row(new.images, i, label, split, weight, group, added=True))
                counts["new"] += 1
                continue
            before = [self.rows[place] for place in places]
            if keep and self.several:
                label = joined([*self.names(before[0].label), *self.names(label)])
            if all(row.added for row in before):
                counts["copies"] += 1
                continue
            other = any(row.label != label for row in before)
            counts["relabelled" if other else "known"] += 1
            if new.corrects or other:
                self._retake(places, label, new.corrects)
        if new.groups:
            self._join_groups()
        if new.labels:
            found = {name for label in new.labels for name in self.names(label)}
            self.classes = (*self.classes, *sorted(found - set(self.classes)))
        self.notes += _told(counts, new.source)

    def _retake(self, places: Sequence[int], label: str, train: bool) -> None:
        """Give a picture of the data this label; ``train``: train on it, and judge by none of its copies, nor by others of its group."""
        for place in places:
            self.rows[place] = replace(self.rows[place], label=label, added=True)
        if not train:
            return
        groups = {self.rows[place].group for place in places} - {""}
        of_groups = [place for place, row in enumerate(self.rows) if row.group in groups] if groups else []
        for place in {*places, *of_groups}:
            self.withdrawn += self.rows[place].split != "train"
            self.rows[place] = replace(self.rows[place], split="train")

    def _join_groups(self) -> None:
        """Move new pictures to the split that others of their group are in."""
        home: dict[str, str] = {}
        for row in sorted(self.rows, key=lambda row: row.base is None):  # the run's own come first
            home.setdefault(row.group, row.split)
        self.rows = [replace(row, split=home[row.group]) if row.group else row for row in self.rows]

    def changes(self) -> bool:
        """Return whether anything differs from the old run's data."""
        return bool(self.notes or self.withdrawn)

    def save(self, folder: Path) -> Path:
        """Write ``revised/data.csv`` in a folder, and the pictures that are not files into ``revised/images``; return its path."""
        place = folder / REVISED
        (place / IMAGES).mkdir(parents=True, exist_ok=True)
        by_place = any(name != name.strip() for name in self.classes)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        weighted = any(row.weight != 1 for row in self.rows)  # without need, all figures would be there twice
        columns = ("path", "labels" if self.several else "label", "split", "group")
        writer.writerow((*columns, "weight") if weighted else columns)
        with ThreadPoolExecutor(usable_cores()) as pool:
            files = list(pool.map(lambda number: _file(self.rows[number], number, place), range(len(self.rows))))
        for row, file in zip(self.rows, files):
            label = row.label
            if by_place:
                label = ";".join(str(self.classes.index(name)) for name in self.names(row.label))
            self.files[str((place / file).absolute())] = row
            writer.writerow((file, label, row.split, row.group, *([repr(row.weight)] if weighted else [])))
        write_text(place / FILE, text.getvalue())
        return place / FILE

    def rows_of(self, split: Split) -> list[Row]:
        """Return the rows of a split of the data that were saved, in its order."""
        images = split.samples.images
        assert isinstance(images, FileStore)
        return [self.files[str(images.path(int(i)).absolute())] for i in split.indices]

    def configuration(self, config: RunConfig, csv_file: Path, output: Path) -> RunConfig:
        """Return the configuration of the old run with this data and another run directory."""
        own = dict.fromkeys(("root", "train", "val", "test", "labels", "limit", "limit_test", "splits"))
        weights = config.data.class_weights
        if isinstance(weights, Mapping):
            named = {self.renamed.get(name, name): weight for name, weight in weights.items()}
            weights = {name: weight for name, weight in named.items() if name in self.classes}
        data = config.data.model_copy(
            update={
                **own,
                "source": "csv",
                "path": str(csv_file.absolute()),
                "classes": list(self.classes),
                "options": {},
                "val_fraction": 0.0,  # every picture has its split
                "test_fraction": 0.0,
                "class_weights": weights or "none",
                "on_bad_image": "error",
            }
        )
        return config.model_copy(update={"data": data, "output": config.output.model_copy(update={"dir": str(output)})})


def digest(images: ImageStore, i: int) -> bytes:
    """Return a hash of a picture: of the file's content, or of the pixels of a picture in memory."""
    if isinstance(images, DecodingStore) and images.content is not None:
        return bytes(images.content[i])
    return images.open(i).digest()


def pixels_digest(images: ImageStore, i: int) -> bytes:
    """Return a hash of a picture's colours, whatever its file format, 16 bytes."""
    pixels = images.read(i)
    return blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()


def _places(rows: Sequence[Row]) -> dict[bytes, list[int]]:
    """Return hash of the content → rows; of pictures in memory and of those that judge, also hash of the colours → rows."""
    found: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(digest(row.images, row.place), []).append(place)
        if row.split != "train" or not isinstance(row.images, FileStore):
            found.setdefault(pixels_digest(row.images, row.place), []).append(place)
    return found


def _told(counts: Mapping[str, int], source: str) -> list[str]:
    words = {
        "new": "new pictures",
        "relabelled": "pictures of the data with another label",
        "known": "pictures that the data have with this label already",
        "copies": "copies left out",
    }
    shown = ", ".join(f"{count} {words[key]}" for key, count in counts.items() if count)
    return [f"{source}: {shown}"] if counts["new"] or counts["relabelled"] else []


def _file(row: Row, number: int, place: Path) -> str:
    """Return the path of a picture, written to a file of its own if it has none, or one whose name a table cannot hold."""
    if isinstance(row.images, FileStore):
        path = row.images.path(row.place)
        name = str(path.absolute())
        if name == name.strip() and name.isprintable():
            return name
        copy = place / IMAGES / f"{number:06d}{path.suffix.lower()}"
        shutil.copyfile(path, copy)
        return f"{IMAGES}/{copy.name}"
    pixels = row.images.open(row.place).pixels()
    name = f"{IMAGES}/{number:06d}.png"
    # Not one by one atomically, which takes longer than all the rest: they count once the table is there.
    Image.fromarray(np.asarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)).save(place / name, compress_level=1)
    return name
