"""Where the data of a run are now: at their absolute path, or where they were as seen from the run, if both have moved together."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError
from keras_transfer.runs.directory import RunDirectory

if TYPE_CHECKING:
    from keras_transfer.config.schema import RunConfig


def as_seen_from(run: RunDirectory, config: RunConfig) -> dict[str, str]:
    """Return the paths of the data relative to the run, for its manifest."""
    from keras_transfer.config.open_data import paths_of

    found = {}
    for name, path in paths_of(config.data).items():
        with suppress(ValueError):  # on another drive
            found[name] = Path(os.path.relpath(path, run.path.absolute())).as_posix()
    return found


def where_data_are(run: RunDirectory, data: str | None = None, advice: str = "say where with --data") -> RunConfig:
    """Return the configuration of a run with the paths that its data have now.

    Args:
        run: the run.
        data: where they are, if the caller knows.
        advice: what to do if they have moved.

    Raises:
        UserError: they are neither where they were, nor where they would be if they had moved along with the run.
    """
    from keras_transfer.config.load import source_of
    from keras_transfer.config.open_data import paths_of

    config = run.read_config()
    if data is not None:
        return _with(config, dict(source_of(data)))
    paths = paths_of(config.data)
    if all(Path(path).exists() for path in paths.values()):
        return config
    relative: dict[str, str] = run.read_json(run.manifest).get("data_from_run", {}) if run.manifest.is_file() else {}
    moved = {name: os.path.normpath(run.path / relative[name]) for name in paths if name in relative}
    if len(moved) == len(paths) and all(Path(path).exists() for path in moved.values()):
        return _with(config, moved)
    gone = next(path for path in paths.values() if not Path(path).exists())
    raise UserError(f"the data of {run.path} are no longer at {gone}; if they have moved, {advice}")


def _with(config: RunConfig, changed: dict[str, Any]) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})
