"""What the runtime changes in, or reads from, Keras's private modules."""

from __future__ import annotations

import sys


def keep_tensorflow_out() -> None:
    """Let Keras, on another backend, see TensorFlow only if the program has imported it.

    To recognise TensorFlow's types, Keras asks on every serialization whether TensorFlow is available, and finds out
    by importing it: seconds, hundreds of megabytes and a page of log lines, wherever both are installed.
    """
    from keras.src.utils import module_utils

    class OnlyIfImported(type(module_utils.tensorflow)):  # type: ignore[misc]
        @property
        def available(self) -> bool:
            return "tensorflow" in sys.modules

    module_utils.tensorflow.__class__ = OnlyIfImported


def torch_device() -> str:
    """Return the kind of device that Keras puts torch tensors on, as torch names it: ``cpu``, ``cuda`` or ``mps``."""
    from keras.src.backend.torch.core import get_device

    return str(get_device()).split(":")[0]
