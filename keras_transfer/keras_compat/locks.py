"""Locks for what Keras and the frameworks keep once per process or per model."""

from __future__ import annotations

import threading
import weakref
from typing import Any

EXCLUSIVE = threading.RLock()
"""Held while a part of Keras or of a framework is replaced or switched for the whole process: loading, saving, exporting."""

_models: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def lock_of(model: Any) -> Any:
    """Return the lock of a model (an ``RLock``): whoever computes with it, or changes how it computes, holds it.

    Keras traces a model's functions on their first call, and on jax it moves the variables into and out of the model in every
    call; neither bears a second thread.
    """
    with _guard:
        return _models.setdefault(model, threading.RLock())
