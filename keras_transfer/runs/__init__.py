"""The run directory: the only place that knows its file names."""

from keras_transfer.runs.directory import RunDirectory

__all__ = ["RunDirectory"]
