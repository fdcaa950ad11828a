"""From the ``data`` section of a configuration to a data set: the only place where both meet."""

from __future__ import annotations

from keras_transfer import data
from keras_transfer.config.resolved import ResolvedData
from keras_transfer.config.schema import DatasetConfig, RunConfig
from keras_transfer.data.augment import Transform
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError


def open_data(config: RunConfig) -> Dataset:
    """Read, check and split the configured data (no framework needed)."""
    settings = {name: getattr(config.data, name) for name in DatasetConfig.model_fields}
    source, extra = settings.pop("source"), settings.pop("options")
    if settings["image_size"] == "auto":
        settings["image_size"] = None
    clash = sorted(settings.keys() & extra.keys())
    if clash:
        raise UserError(f"data.options.{clash[0]} is a key of its own: set data.{clash[0]}")
    return data.build(source, seed=config.seed, **settings, **extra)


def evaluation_transform(data: ResolvedData) -> Transform:
    """Return the transform of validation, test and prediction: fit to size, nothing random."""
    return Transform(data.size, [], resize=data.resize, color=data.color)
