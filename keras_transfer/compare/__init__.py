"""Several configurations or finished runs beside each other: accuracy, time, size. Importing it imports no framework."""

from keras_transfer.compare.run import compare

__all__ = ["compare"]
