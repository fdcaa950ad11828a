"""Compare configurations or finished runs: accuracy, time, size. Importing this package imports no framework."""

from keras_transfer.compare.command import compare

__all__ = ["compare"]
