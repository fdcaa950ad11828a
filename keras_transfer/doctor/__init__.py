"""Check a data set before training on it: the work of the command ``doctor``."""

from keras_transfer.doctor.command import doctor

__all__ = ["doctor"]
