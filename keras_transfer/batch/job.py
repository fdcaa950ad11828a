"""A job in parts: rows from many images, so many to a file. A part is a file that is there or not; what is there is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.files import write_json

if TYPE_CHECKING:
    import pyarrow

ROWS = 512
"""Images to a part, unless asked otherwise: a lost worker costs no more than that."""
_JOB = "_job.json"  # readers of folders of Parquet leave out what begins so


@dataclass(frozen=True)
class Part:
    """Images ``start`` to ``stop - 1`` of a job."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        """Of its file: sorted by name, the parts are in the order of the images."""
        return f"part-{self.start:09d}.parquet"


@dataclass(frozen=True)
class Job:
    """What is computed of which images; its folder continues no other.

    Attributes:
        kind: ``"predict"``, ``"evaluate"`` or ``"embed"``.
        model: hash of the model file.
        images: hash of their names, in order.
        count: number of them.
        rows: images to a part.
        settings: what else changes the rows.
    """

    kind: str
    model: str
    images: str
    count: int
    rows: int
    settings: dict[str, Any]

    @property
    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [Part(start, min(start + self.rows, self.count)) for start in range(0, self.count, self.rows)]


def digest_of_names(names: Sequence[str]) -> str:
    """Return the hash of names in their order."""
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()


def begin(folder: Path, job: Job) -> list[Part]:
    """Make the folder of a job, or continue it; return the parts that are missing.

    Raises:
        UserError: the folder is of another job, or of none.
    """
    file = folder / _JOB
    if folder.is_file():
        raise UserError(f"{folder} is a file; name a folder for the parts")
    if file.is_file():
        _compare(folder, _read(file), json.loads(json.dumps(asdict(job))))
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"the folder {folder} is not empty, and not that of such a job; name another one")
    else:
        write_json(file, asdict(job))
    for left in folder.glob(".*.part"):  # of a process that was killed while it wrote
        left.unlink(missing_ok=True)
    return [part for part in job.parts if not (folder / part.name).is_file()]


def tables(folder: Path, job: Job) -> Iterator[pyarrow.Table]:
    """Yield the rows of each part, in order."""
    parquet = pyarrow_parquet()
    for part in job.parts:
        yield parquet.read_table(folder / part.name)


def pyarrow_parquet() -> Any:
    """Return ``pyarrow.parquet``; raise MissingExtra if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
    return pyarrow.parquet


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged; name another folder, or remove this one") from error
    return found if isinstance(found, dict) else {}


def _compare(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        words = {"kind": "another command", "model": "another model", "images": "other images", "count": "other images",
                 "rows": "parts of another size", "settings": "other settings"}  # fmt: skip
        what = ", ".join(dict.fromkeys(words[key] for key in changed))
        raise UserError(f"the folder {folder} was begun with {what}; give the same command, or another folder")
