"""Check a data set before training on it: the work of the command ``doctor``."""

from keras_transfer.doctor.command import doctor
from keras_transfer.doctor.labels import doubtful_labels

__all__ = ["doctor", "doubtful_labels"]
