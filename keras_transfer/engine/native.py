"""Run a built Keras model on faster operations of its backend: ``install(model)`` and ``remove(model)``.

On torch, stock Keras permutes and copies around every convolution and pooling, and computes BatchNormalization in several
passes. On a CPU, XLA has no efficient code for depthwise convolutions. The native operations compute the same up to rounding.
They are attached to *instances*: classes, configuration, variables and the saved file stay plain Keras, and a clone or a
reloaded model is stock again. On tensorflow nothing is faster: ``install`` changes nothing and reports so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_transfer.engine.report import Report

if TYPE_CHECKING:
    import keras


def install(model: keras.Model, graph: bool = True, keep_memory: bool = True) -> Report:
    """Give every supported layer of a built model, nested models included, its native operation.

    On torch, an Adam, AdamW or SGD optimizer that the model is compiled with, now or later, updates in one pass on the CPU.

    Installing twice is the same as once. Call it again after changing layers (not after changing ``trainable``, weights or
    dtype policies: those are read at every step).

    Args:
        model: a built ``keras.Model``.
        graph: also run functional graphs as fused steps (convolution + normalization + activation).
        keep_memory: on the CPU, tell the C library to keep freed memory, for the whole process and its lifetime; see
            :func:`keras_transfer.engine.memory.keep_freed_memory`.

    Returns:
        The report; on tensorflow it is empty and nothing is changed.
    """
    report = Report(_backend())
    if report.backend == "jax":
        from keras_transfer.engine import jax_native

        jax_native.install_model(model, report)
    if report.backend != "torch":
        return report
    from keras_transfer.engine.memory import keep_freed_memory
    from keras_transfer.engine.torch_native.install import install_model, on_cpu

    if keep_memory and on_cpu(model):
        report.memory_kept = keep_freed_memory()
    install_model(model, report, graph)
    return report


def remove(model: keras.Model) -> int:
    """Give every layer its stock operation back; return how many had a native one."""
    if _backend() == "jax":
        from keras_transfer.engine.jax_native import remove_model
    elif _backend() == "torch":
        from keras_transfer.engine.torch_native.install import remove_model
    else:
        return 0

    return remove_model(model)


def _backend() -> str:
    import keras

    return keras.backend.backend()
