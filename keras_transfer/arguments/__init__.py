"""Arguments: the types of values that users give, and one way to check them, for the configuration and for Python alike."""

from keras_transfer.arguments.checked import checked
from keras_transfer.arguments.problems import described
from keras_transfer.arguments.section import Section

__all__ = ["Section", "checked", "described"]
