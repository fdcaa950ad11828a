"""Transfer learning for image classification on Keras 3: the same on PyTorch, TensorFlow and JAX.

::

    import keras_transfer as kt
    data = kt.data.folder("photos/", image_size=224)
    clf = kt.Classifier("mobilenet_v2", classes=data.classes)
    clf.fit(data, phases=[kt.Phase("head", epochs=5, learning_rate=1e-3),
                          kt.Phase("all", epochs=20, learning_rate=1e-4)])

Importing the package imports neither Keras nor a framework; the first thing that needs them does, on the framework that is installed
(``kt.use_backend`` chooses another). ``import keras`` after it finds that framework too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

__version__ = "0.1.0"

# name -> (module, attribute); resolved on first use, so that the backend can be chosen after the import
_LAZY: dict[str, tuple[str, str | None]] = {
    "use_backend": ("keras_transfer.runtime", "use_backend"),
    "backbones": ("keras_transfer.models.backbones", "backbones"),
    "data": ("keras_transfer.data", None),
    "Classifier": ("keras_transfer.classifier", "Classifier"),
    "fine_tune": ("keras_transfer.fine_tuning", "fine_tune"),
    "cross_validate": ("keras_transfer.fine_tuning", "cross_validate"),
    "load": ("keras_transfer.classifier", "load"),
    "Phase": ("keras_transfer.config.schema", "Phase"),
    "RunConfig": ("keras_transfer.config.schema", "RunConfig"),
    "load_config": ("keras_transfer.config.load", "load_config"),
    "train": ("keras_transfer.training.train", "train"),
    "sweep": ("keras_transfer.sweeps.sweep", "sweep"),
    "UserError": ("keras_transfer.errors", "UserError"),
}

__all__ = ["__version__", *_LAZY]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'keras_transfer' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found = importlib.import_module(module)
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Make IPython show the package's objects as HTML (``%load_ext keras_transfer``)."""
    importlib.import_module("keras_transfer.notebook").register(shell)


# Keras's own default is TensorFlow, and a plain `import keras` fails without it.
if "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules and not importlib.util.find_spec("tensorflow"):
    importlib.import_module("keras_transfer.runtime.backend").set_provisional()

# Importing the package in a notebook is enough; a shell that starts later takes the extension.
if "IPython" in sys.modules and (_shell := importlib.import_module("keras_transfer.ipython").shell()) is not None:
    load_ipython_extension(_shell)
