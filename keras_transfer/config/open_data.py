"""From the ``data`` section of a configuration to a data set: the only place where both meet."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from keras_transfer import data
from keras_transfer.config.resolved import ResolvedData
from keras_transfer.config.schema import DataConfig, DatasetConfig, RunConfig
from keras_transfer.data import builder
from keras_transfer.data.augment import Transform
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError

# What `build` takes whatever the source is; all other keys of the data section are options of sources.
_COMMON = {name for name, p in inspect.signature(builder.build).parameters.items() if p.kind is not p.VAR_KEYWORD}


def open_data(config: RunConfig) -> Dataset:
    """Read, check and split the configured data (no framework needed)."""
    common = {name: getattr(config.data, name) for name in DatasetConfig.model_fields if name in _COMMON}
    if common["image_size"] == "auto":
        common["image_size"] = None
    common["val_fraction"] = config.val_fraction
    if config.data.splits is not None:
        common["split_table"] = _read_splits(Path(config.data.splits))
    return data.build(**common, seed=config.seed, **source_options(config))


def _read_splits(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"data.splits: cannot read {path}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(split, str) for split in found.values()):
        raise UserError(f"data.splits: {path} is no splits.json of a run: expected image name → train, val or test")
    return found


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the configuration with absolute paths to the data, so that it means the same in every folder."""
    paths = {name: str(Path(path).absolute()) for name, path in paths_of(config.data).items()}
    if config.data.unlabelled is not None:
        paths["unlabelled"] = str(Path(config.data.unlabelled).absolute())
    return config.model_copy(update={"data": config.data.model_copy(update=paths)})


def paths_of(data: DatasetConfig) -> dict[str, str]:
    """Return the keys of a data section that are paths, with their values."""
    given = {name: getattr(data, name, None) for name in ("path", "root", "train", "val", "test", "classes", "splits")}
    return {name: value for name, value in given.items() if isinstance(value, str) and value and "://" not in value}


def source_options(config: RunConfig) -> dict[str, Any]:
    """Return the options of the configured source: keys of the data section that are its own, and ``data.options``.

    Raises:
        UserError: ``data.options`` holds a key that the configuration has itself.
    """
    own = {name: getattr(config.data, name) for name in DatasetConfig.model_fields if name not in _COMMON}
    extra = own.pop("options")
    for key in extra:
        if key in _COMMON or key in own:
            hint = f"; set data.{key}" if key in DataConfig.model_fields else ""
            raise UserError(f"data.options.{key}: {key} is no option of a source{hint}")
    return {**own, **extra}


def evaluation_transform(data: ResolvedData) -> Transform:
    """Return the transform of validation, test and prediction: fit to size, nothing random."""
    return Transform(data.size, [], resize=data.resize, color=data.color)
