"""The files of a run directory: their names, and how they are created and read."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write, write_csv, write_json, write_text
from keras_transfer.safety.archive import read_npz

if TYPE_CHECKING:  # a prediction reads no configuration, and should not wait for pydantic
    from keras_transfer.config.resolved import ResolvedConfig
    from keras_transfer.config.schema import RunConfig


REVISED = "revised"
FOLDS = "folds"
_FIRST = r"manifest\.json|splits\.json|pictures\.npz"
BEGINNINGS = re.compile(rf"state|{REVISED}|{FOLDS}|{_FIRST}|\.({_FIRST}|config\.yaml)\..*\.part")
"""Files that a process may leave if it is stopped before it has written `config.yaml`."""


class RunDirectory:
    """The directory of one run; every file is written atomically.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.json"
        self.history = self.path / "history.csv"
        self.model = self.path / "model.keras"
        self.splits = self.path / "splits.json"
        self.pictures = self.path / "pictures.npz"
        self.out_of_fold = self.path / "out_of_fold.npz"
        self.plots = self.path / "plots"
        self.state = self.path / "state"
        self.state_file = self.state / "state.npz"
        self.bad_batch = self.state / "bad_batch.json"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.mlflow = self.path / "mlflow"
        self.wandb = self.path / "wandb"
        self.loggers = self.state / "loggers.json"
        self.checkpoints = self.path / "checkpoints"

    def checkpoint(self, phase: int, epoch: int) -> Path:
        """Return the path of the model of an epoch (with ``output.every_epoch``); both numbers start at 1."""
        return self.checkpoints / f"phase{phase}_epoch{epoch:03d}.keras"

    @classmethod
    def refuse_existing(cls, wanted: str | None) -> None:
        """Fail early where :meth:`create` would fail late.

        Raises:
            UserError: ``wanted`` is a file, or a folder that contains more than an unstarted run.
        """
        if wanted is None:
            return
        path = Path(wanted)
        if path.is_file():
            raise UserError(f"the output {path} is a file; give --output a new folder")
        if path.is_dir() and not _only_begun(path):
            unfinished = (path / "config.yaml").is_file() and not (path / "metrics.json").is_file()
            hint = f"resume it (train --resume --output {path}) or " if unfinished else ""
            raise UserError(f"the output folder {path} exists and is not empty; {hint}give --output another name")

    @classmethod
    def create(cls, wanted: str | None, name: str) -> RunDirectory:
        """Make a new run directory.

        Args:
            wanted: its path; ``None`` makes ``runs/NAME-DATE-TIME``.
            name: the run's name.

        Raises:
            UserError: the folder exists and is not empty, or cannot be created.
        """
        cls.refuse_existing(wanted)
        path = Path(wanted) if wanted else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        try:
            if wanted:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path = _make_new(path)
        except OSError as error:
            raise UserError(f"cannot make the output folder {path}: {error.strerror or error}") from error
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open an existing run.

        Raises:
            UserError: there is no run at ``path``.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise UserError(f"no run directory at {path}")
        if not run.config.is_file():
            raise UserError(f"{path} is not a run directory: it has no config.yaml")
        return run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other processes inside the block; the lock of a killed process is released.

        Partial files of killed writers are removed at the beginning, the state of a finished run at the end.

        Raises:
            UserError: another process trains in it, or it cannot be written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.state / "lock")
        try:
            self.state.mkdir(exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"another process is training in {self.path}; wait for it or stop it first") from error
        except OSError as error:
            raise UserError(f"cannot write in {self.path}: {error.strerror or error}") from error
        try:
            for folder in (self.path, self.state, self.plots, self.checkpoints):
                for left in folder.glob(".*.part"):
                    with suppress(OSError):
                        left.unlink()
            yield
        finally:
            lock.release()
            if self.is_finished():
                self._forget_state()

    def start(
        self, config: RunConfig, splits: dict[str, str], manifest: dict[str, Any], content: np.ndarray | None = None
    ) -> None:
        """Write the resolved configuration, the split of every image and the hash of its content, and the manifest.

        Call it inside :meth:`locked`: of two runs created at the same time, one is refused.

        Raises:
            UserError: another run has started here.
        """
        self.refuse_existing(str(self.path))
        write_json(self.manifest, manifest)
        self._write_splits(splits, content)
        from keras_transfer.config import load as config_load

        write_text(self.config, config_load.dump(config))  # last: it marks a started run

    def change(
        self, config: RunConfig, splits: dict[str, str], manifest: dict[str, Any], content: np.ndarray | None = None
    ) -> None:
        """Write what has changed before a run is resumed."""
        from keras_transfer.config import load as config_load

        write_text(self.config, config_load.dump(config))
        self._write_splits(splits, content)
        write_json(self.manifest, manifest)  # last: until then, changes are reported again

    def _write_splits(self, splits: dict[str, str], content: np.ndarray | None) -> None:
        write_json(self.splits, splits)
        if content is not None:
            with atomic_write(self.pictures) as stream:
                np.savez(stream, content=content)

    def split_of_content(self) -> dict[bytes, str] | None:
        """Return content → split: the 16-byte hash of every image of the run, or None if the run did not record them.

        An image that occurs in several splits belongs to the first of train, val and test.

        Raises:
            UserError: the file is damaged.
        """
        if not self.pictures.is_file():
            return None
        splits = list(self.read_json(self.splits).values())
        try:
            content = read_npz(self.pictures, self.pictures, ("content",))["content"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self.pictures} is damaged: {error}") from error
        if content.dtype != np.uint8 or content.shape != (len(splits), 16):
            raise UserError(f"{self.pictures} is damaged: expected ({len(splits)}, 16) bytes, got {content.shape}")
        found: dict[bytes, str] = {}
        for wanted in ("test", "val", "train"):
            found |= {bytes(row): wanted for row, split in zip(content, splits) if split == wanted}
        return found

    def update_manifest(self, more: dict[str, Any]) -> None:
        """Add keys to ``manifest.json``."""
        write_json(self.manifest, {**self.read_json(self.manifest), **more})

    def read_config(self, overrides: Sequence[str] = ()) -> RunConfig:
        """Return the stored configuration, with ``KEY=VALUE`` overrides."""
        from keras_transfer.config import load as config_load

        return config_load.read_config(str(self.config), list(overrides))

    def read_resolved(self) -> ResolvedConfig:
        """Return the stored configuration, which is complete."""
        from keras_transfer.config import load as config_load

        return config_load.complete(self.read_config())

    def write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write ``history.csv``: a row an epoch."""
        write_csv(self.history, rows, list(dict.fromkeys(key for row in rows for key in row)))

    def read_history(self) -> list[dict[str, Any]]:
        """Return the rows of ``history.csv``, with numbers converted."""
        if not self.history.is_file():
            return []
        with self.history.open(encoding="utf-8", newline="") as lines:
            return [{key: _figure(value) for key, value in row.items()} for row in csv.DictReader(lines)]

    def write_out_of_fold(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Write ``out_of_fold.npz``: what models that were not made from a training image predict for it.

        Args:
            logits: (n, C), in the order of the training split, divided by the temperature if there is one; stored as
                float32.
            labels: (n,) integers in 0..C-1, stored as int64; or (n, C), several labels of 0 and 1, stored as uint8.

        Raises:
            ValueError: shapes that do not match.
            UserError: the file cannot be written.
        """
        logits, labels = (
            np.asarray(logits, np.float32),
            np.asarray(labels, np.uint8 if np.ndim(labels) == 2 else np.int64),
        )
        if logits.ndim != 2 or labels.shape not in (logits.shape[:1], logits.shape):
            raise ValueError(f"expected logits (n, C) and labels (n,), got {logits.shape} and {labels.shape}")
        with atomic_write(self.out_of_fold) as stream:
            np.savez(stream, logits=logits, labels=labels)

    def read_out_of_fold(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what :meth:`write_out_of_fold` stored, float32 (n, C) and int64 (n,), or None if there is no such file.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with np.load(self.out_of_fold, allow_pickle=False) as stored:
                logits, labels = stored["logits"], stored["labels"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self.out_of_fold} is damaged: expected logits and labels ({error})") from error
        if logits.ndim != 2 or labels.shape not in (logits.shape[:1], logits.shape):
            raise UserError(
                f"{self.out_of_fold} is damaged: expected logits (n, C) and labels (n,), got {logits.shape} and {labels.shape}"
            )
        return np.asarray(logits, np.float32), np.asarray(labels, np.uint8 if labels.ndim == 2 else np.int64)

    def read_json(self, path: Path) -> Any:
        """Return the content of one of the run's JSON files."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"the run {self.path} has no {path.name}: it did not finish") from error
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(found, dict):
            raise UserError(f"{path} is not as a run writes it: expected names and values, got {str(found)[:60]!r}")
        return found

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of the run's JSON files."""
        write_json(path, content)

    def is_finished(self) -> bool:
        """Return whether the run is finished; `metrics.json` is written last."""
        return self.metrics.is_file()

    def refuse_finished(self) -> None:
        """Raise ``UserError`` if the run is finished."""
        if self.is_finished():
            self._forget_state()  # it may have been killed just before
            raise UserError(f"nothing to resume: the run {self.path} is finished")

    def _forget_state(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)


def _only_begun(folder: Path) -> bool:
    """Return whether a folder is empty, or contains only an unstarted run that cannot be resumed."""
    names = {path.name for path in folder.iterdir()}
    state = folder / "state"
    if names <= {REVISED, FOLDS}:  # what was written for a run before it begins
        return True
    return (
        all(map(BEGINNINGS.fullmatch, names)) and state.is_dir() and {path.name for path in state.iterdir()} <= {"lock"}
    )


def _make_new(path: Path) -> Path:
    """Create a new folder with this name, or with a number appended."""
    new, number = path, 1
    while True:
        try:
            new.mkdir(parents=True)
            return new
        except FileExistsError:
            number += 1
            new = path.with_name(f"{path.name}-{number}")


def _figure(text: str | None) -> Any:
    if text in (None, ""):
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text and "e" not in text else number
