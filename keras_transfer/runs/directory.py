"""Names, creation and reading of a run directory."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from keras_transfer.config import load as config_load
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError
from keras_transfer.files import write_csv, write_json, write_text


class RunDirectory:
    """A folder that holds one run; every file is written whole or not at all.

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
        self.plots = self.path / "plots"
        self.state = self.path / "state"
        self.state_file = self.state / "state.npz"
        self.tensorboard = self.path / "tensorboard"

    @classmethod
    def refuse_existing(cls, wanted: str | None) -> None:
        """Fail early where :meth:`create` would fail late.

        Raises:
            UserError: ``wanted`` is a file or a folder that is not empty.
        """
        if wanted is None:
            return
        path = Path(wanted)
        if path.is_file():
            raise UserError(f"the output {path} is a file; give --output a new folder")
        if path.is_dir() and any(path.iterdir()):
            unfinished = (path / "config.yaml").is_file() and not (path / "metrics.json").is_file()
            hint = f"go on with it (train --resume --output {path}) or " if unfinished else ""
            raise UserError(f"the output folder {path} exists and is not empty; {hint}give --output another name")

    @classmethod
    def create(cls, wanted: str | None, name: str) -> RunDirectory:
        """Make a new run directory.

        Args:
            wanted: its path; ``None`` makes ``runs/NAME-DATE-TIME``.
            name: the run's name.

        Raises:
            UserError: the folder exists and is not empty, or cannot be made.
        """
        path = Path(wanted) if wanted else _free_name(name)
        cls.refuse_existing(wanted)
        try:
            path.mkdir(parents=True, exist_ok=True)
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

    def start(self, config: RunConfig, splits: dict[str, str], manifest: dict[str, Any]) -> None:
        """Keep the resolved configuration, which picture is in which split, and what the run runs on."""
        write_json(self.manifest, manifest)
        write_json(self.splits, splits)
        self.write_config(config)

    def write_config(self, config: RunConfig) -> None:
        """Write ``config.yaml``."""
        write_text(self.config, config_load.dump(config))

    def update_manifest(self, more: dict[str, Any]) -> None:
        """Add keys to ``manifest.json``."""
        write_json(self.manifest, {**self.read_json(self.manifest), **more})

    def read_config(self) -> RunConfig:
        """Return the configuration kept with the run."""
        return config_load.validate(yaml.safe_load(self.config.read_text(encoding="utf-8")) or {})

    def write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write ``history.csv``: a row an epoch."""
        write_csv(self.history, rows, list(rows[0]))

    def read_history(self) -> list[dict[str, Any]]:
        """Return the rows of ``history.csv``, figures as numbers."""
        if not self.history.is_file():
            return []
        with self.history.open(encoding="utf-8", newline="") as lines:
            return [{key: _figure(value) for key, value in row.items()} for row in csv.DictReader(lines)]

    def read_json(self, path: Path) -> Any:
        """Return the content of one of the run's JSON files."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"the run {self.path} has no {path.name}: it did not finish") from error
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}") from error

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of the run's JSON files."""
        write_json(path, content)

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.state, ignore_errors=True)


def _free_name(name: str) -> Path:
    stem = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path


def _figure(text: str | None) -> Any:
    if text in (None, ""):
        return None
    try:
        number = float(text)  # type: ignore[arg-type]
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text and "e" not in text else number  # type: ignore[operator]
