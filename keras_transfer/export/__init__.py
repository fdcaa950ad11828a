"""Trained models as files of other runtimes, each proved equal on images."""

from keras_transfer.export.command import export
from keras_transfer.export.formats import FORMATS

__all__ = ["FORMATS", "export"]
