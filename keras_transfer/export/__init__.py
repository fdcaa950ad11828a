"""Convert trained models for other runtimes and verify each file against the model on images."""

from keras_transfer.export.command import export
from keras_transfer.export.formats import FORMATS

__all__ = ["FORMATS", "export"]
