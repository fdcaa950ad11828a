"""Trained models as files of other runtimes, each proved equal on pictures."""

from keras_transfer.export.formats import FORMATS
from keras_transfer.export.run import export

__all__ = ["FORMATS", "export"]
