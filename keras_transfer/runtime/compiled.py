"""What JAX has compiled, kept for later processes: compiling a training step takes minutes on a processor, and reading it a second."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from keras_transfer.runtime.machine import cache_dir, hardware, processor_flags

_LIMIT = 2 << 30  # bytes; JAX removes the least recently used


def keep_compiled() -> None:
    """Set JAX's variables for its compilation cache; it reads them when it is imported.

    The folder is one of the processor's own, because programs for another may not run. Where it cannot be written, nothing is kept. What the
    user has set stays.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    processor = " ".join([str(hardware()["processor"]), *sorted(processor_flags())])
    folder = cache_dir() / "jax" / hashlib.sha256(processor.encode()).hexdigest()[:16]
    if not _is_writable(folder):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_LIMIT))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
