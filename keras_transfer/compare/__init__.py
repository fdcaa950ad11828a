"""Several configurations or finished runs beside each other: accuracy, time, size. Importing it imports no framework."""

from keras_transfer.compare.command import compare

__all__ = ["compare"]
