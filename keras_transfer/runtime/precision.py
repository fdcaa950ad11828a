"""Choose the floating-point precision of training and of frozen features."""

from __future__ import annotations

import importlib.util

from keras_transfer.runtime.choice import Choice
from keras_transfer.runtime.machine import processor_flags

_X86_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def choose_precision(wanted: str, device: str, native: bool = True) -> Choice:
    """Choose the training precision: bfloat16 where it is measured to be faster, else float32.

    On CPUs bfloat16 is faster only for this package's own operations on torch: the CPU kernels of TensorFlow and XLA
    gain nothing from it, or lose up to half their speed (docs/results.md).

    Args:
        wanted: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        device: what :func:`~keras_transfer.runtime.device_in_use` returns.
        native: whether layers use this package's own operations.
    """
    if wanted != "auto":
        return Choice(wanted, "from the configuration")
    if device == "gpu" and _gpu_has_bfloat16():
        return Choice("bfloat16", "the GPU computes it natively")
    if device != "cpu":
        return Choice("float32", f"the safe choice on {device}")
    if not processor_flags() & _X86_BFLOAT16:
        return Choice("float32", "the processor has no instructions for bfloat16")
    import keras

    backend = keras.backend.backend()
    if backend != "torch" or not native:
        return Choice("float32", f"{backend if native else 'stock Keras'} is no faster in bfloat16 on a CPU")
    return Choice("bfloat16", "the processor computes it natively")


def choose_feature_precision(wanted: str, precision: str, computing: str, device: str) -> Choice:
    """Choose the precision of frozen features: bfloat16 if the CPU supports it and float32 was not requested.

    Args:
        wanted: ``data.cache_precision``: ``auto``, ``float32`` or ``bfloat16``.
        precision: the requested ``precision``, or ``auto``.
        computing: the precision chosen for the rest of the model.
        device: what :func:`~keras_transfer.runtime.device_in_use` returns.
    """
    if wanted != "auto":
        return Choice(wanted, "from the configuration")
    if "bfloat16" in (precision, computing):
        return Choice("bfloat16", "the precision of the run")
    if precision != "auto":
        return Choice("float32", f"precision {precision} was requested")
    if device == "cpu" and importlib.util.find_spec("openvino") is not None and processor_has_bfloat16():
        return Choice("bfloat16", "the processor computes it natively; the head stays float32")
    return Choice("float32", f"the safe choice on {device}")


def processor_has_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 instructions; False where that cannot be read.

    OpenVINO's capability list is no help: it names bfloat16 for CPUs that emulate it, too.
    """
    return bool(processor_flags() & {*_X86_BFLOAT16, "bf16", "svebf16"})


def _gpu_has_bfloat16() -> bool:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_capability()[0] >= 8  # Ampere
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return details.get("compute_capability", (0, 0))[0] >= 8
    import jax

    return float(getattr(jax.devices()[0], "compute_capability", "0") or 0) >= 8
