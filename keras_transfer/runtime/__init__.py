"""Backend, device, precision and seed: everything that must be settled before Keras is imported.

Keras reads ``KERAS_BACKEND`` once, when it is imported, and some frameworks read their own variables just as early.
This package is the only one that writes environment variables, and importing it imports no framework.
"""

from keras_transfer.options import BACKENDS, DEVICES
from keras_transfer.runtime.backend import (
    activate,
    choose_backend,
    hide_progress_bars,
    installed_backends,
    use_backend,
)
from keras_transfer.runtime.choice import Choice
from keras_transfer.runtime.determinism import set_seed
from keras_transfer.runtime.device import check_device, device_in_use
from keras_transfer.runtime.machine import cache_dir, child_environment, hardware, limit_mlflow_retries, versions
from keras_transfer.runtime.precision import choose_feature_precision, choose_precision
from keras_transfer.runtime.resources import usable_cores, usable_memory

__all__ = [
    "BACKENDS",
    "DEVICES",
    "Choice",
    "activate",
    "cache_dir",
    "check_device",
    "child_environment",
    "choose_backend",
    "choose_feature_precision",
    "choose_precision",
    "device_in_use",
    "hardware",
    "hide_progress_bars",
    "installed_backends",
    "limit_mlflow_retries",
    "set_seed",
    "usable_cores",
    "usable_memory",
    "use_backend",
    "versions",
]
