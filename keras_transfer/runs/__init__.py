"""The run directory: the only place that knows its file names."""

from keras_transfer.runs.directory import RunDirectory
from keras_transfer.runs.moved import as_seen_from, where_data_are

__all__ = ["RunDirectory", "as_seen_from", "where_data_are"]
