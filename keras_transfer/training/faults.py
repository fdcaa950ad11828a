"""Recognize out-of-memory and non-determinism exceptions of the frameworks and turn them into user errors."""

from __future__ import annotations

import gc
import sys

from keras_transfer.errors import UserError
from keras_transfer.formatting import images

_KINDS = ("OutOfMemoryError", "ResourceExhaustedError", "MemoryError")  # torch; tensorflow; numpy and Python
_SIGNS = ("RESOURCE_EXHAUSTED", "DefaultCPUAllocator", "out of memory", "std::bad_alloc")  # jax; torch; drivers; C++


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a framework raised ``error`` because host or GPU memory ran out.

    Frameworks share no exception type for this, and Keras may have re-raised the error with a longer message.
    """
    if isinstance(error, UserError):
        return False
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return not kinds.isdisjoint(_KINDS) or any(sign in str(error) for sign in _SIGNS)


def out_of_memory(batch_size: int, micro_batch_size: int, image_size: tuple[int, int]) -> UserError:
    """Build the error that names the sizes tried and the settings to change.

    Args:
        batch_size: images per step.
        micro_batch_size: images computed at once.
        image_size: (height, width).
    """
    height, width = image_size
    tried = f"out of memory with {images(micro_batch_size)} of {height} × {width} at once (batch_size {batch_size})"
    if micro_batch_size == 1:
        return UserError(f"{tried}: use a smaller image_size, another backbone, or train fewer layers")
    parts = 2 * -(-batch_size // micro_batch_size)
    return UserError(
        f"{tried}: set accumulate to {parts} for the same result in less memory, or a smaller batch_size or image_size"
    )


def free_memory() -> None:
    """Free the memory of unreferenced models and arrays."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_not_deterministic(error: BaseException) -> bool:
    """Return whether a framework raised ``error`` for an operation without a deterministic implementation."""
    text = str(error).lower()
    return "does not have a deterministic implementation" in text or "deterministic gpu implementation" in text


def not_deterministic(error: BaseException) -> UserError:
    """Build the user error that names the operation."""
    said = str(error).strip().splitlines()[0]
    return UserError(f"deterministic: true is not possible here ({said}); set deterministic: false, or device: cpu")
