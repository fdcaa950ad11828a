"""Run a built Keras model on torch's own kernels: ``install(model)`` and ``remove(model)``.

Stock Keras on torch permutes and copies around every convolution and pooling, and computes
BatchNormalization in several passes. The native operations compute the same, to rounding, on the memory as
it lies. They hang on the *instances*: classes, configuration, variables and the saved file stay plain Keras,
and a clone or a reloaded model is stock again. On tensorflow and jax, installing is a no-op that says so.
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
        if self.backend != "torch":
            return f"native engine: nothing to do on {self.backend}"
        parts = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(self.patched.items())) or "no layer"
        line = f"native engine: {parts}; {sum(self.fused.values())} fused steps"
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

    Adam and AdamW, whenever the model is compiled with one, update in one pass on the CPU.

    Installing twice is the same as once. Call it again after changing layers (not needed after changing
    ``trainable``, weights or dtype policies: those are read at every step).

    Args:
        model: a built ``keras.Model``.
        graph: also run functional graphs as fused steps (convolution + normalization + activation).
        keep_memory: on the CPU, tell the C library to keep freed memory; this concerns the whole process and
            lasts for its life, see :func:`keras_transfer.engine.memory.keep_freed_memory`.

    Returns:
        The report; on a backend other than torch it is empty and nothing is changed.
    """
    backend = _backend()
    if backend != "torch":
        return Report(backend)
    from keras_transfer.engine.memory import keep_freed_memory
    from keras_transfer.engine.torch_native.install import install_model, on_cpu

    report = Report(backend)
    if keep_memory and on_cpu(model):
        report.memory_kept = keep_freed_memory()
    install_model(model, report, graph)
    return report


def remove(model: keras.Model) -> int:
    """Give every layer its stock operation back; return how many native ones there were."""
    if _backend() != "torch":
        return 0
    from keras_transfer.engine.torch_native.install import remove_model

    return remove_model(model)
