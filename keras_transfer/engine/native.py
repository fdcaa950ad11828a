"""Run a built Keras model on faster operations of its backend: ``install(model)`` and ``remove(model)``.

On torch, stock Keras permutes and copies around every convolution and pooling, and computes
BatchNormalization in several passes. On jax and a CPU, XLA has no good code for depthwise convolutions. The native
operations compute the same, to rounding. They hang on the *instances*: classes, configuration, variables and the saved
file stay plain Keras, and a clone or a reloaded model is stock again. On tensorflow there is nothing to gain: installing
is a no-op that says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclass
class Report:
    """What ``install`` did.

    Attributes:
        backend: the Keras backend.
        patched: class name → names of the layers that run natively.
        left_alone: (layer name, reason) of layers that a native operation exists for but that stay stock.
        memory_kept: whether freed memory now stays in the process (CPU with glibc, see ``engine.memory``).
        fused: pattern (such as ``Conv2D+BatchNormalization+ReLU``) → how often the graph runs it as one step.
    """

    backend: str
    patched: dict[str, list[str]] = field(default_factory=dict)
    left_alone: list[tuple[str, str]] = field(default_factory=list)
    memory_kept: bool = False
    fused: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Number of layers that run natively."""
        return sum(len(names) for names in self.patched.values())

    def __str__(self) -> str:
        """Return one line for the log."""
        if self.backend == "tensorflow":
            return f"native engine: nothing to do on {self.backend}"
        parts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(self.patched.items())) or "no layer"
        line = f"native engine: {parts}"
        if self.fused:
            line += f"; {sum(self.fused.values())} fused steps"
        if self.memory_kept:
            line += "; freed memory stays in the process"
        if self.left_alone:
            line += "; stock: " + ", ".join(f"{name} ({reason})" for name, reason in self.left_alone)
        return line


def _backend() -> str:
    import keras

    return keras.backend.backend()


def install(model: keras.Model, graph: bool = True, keep_memory: bool = True) -> Report:
    """Give every supported layer of a built model, nested models included, its native operation.

    On torch, Adam and AdamW, whenever the model is compiled with one, update in one pass on the CPU.

    Installing twice is the same as once. Call it again after changing layers (not needed after changing
    ``trainable``, weights or dtype policies: those are read at every step).

    Args:
        model: a built ``keras.Model``.
        graph: also run functional graphs as fused steps (convolution + normalization + activation).
        keep_memory: on the CPU, tell the C library to keep freed memory; this concerns the whole process and
            lasts for its life, see :func:`keras_transfer.engine.memory.keep_freed_memory`.

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
    """Give every layer its stock operation back; return how many native ones there were."""
    if _backend() == "jax":
        from keras_transfer.engine.jax_native import remove_model
    elif _backend() == "torch":
        from keras_transfer.engine.torch_native.install import remove_model
    else:
        return 0

    return remove_model(model)
