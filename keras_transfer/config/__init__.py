"""Configuration: a typed schema, YAML files, ``--set`` overrides and defaults chosen from the data."""

from keras_transfer.config.load import load_config, parse_overrides
from keras_transfer.config.schema import RunConfig

__all__ = ["RunConfig", "load_config", "parse_overrides"]
