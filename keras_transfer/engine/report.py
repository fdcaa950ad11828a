"""What installing native operations did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """Result of :func:`keras_transfer.engine.native.install`.

    Attributes:
        backend: the Keras backend.
        patched: class name → names of the layers that run natively.
        left_alone: (layer name, reason) of layers that have a native operation but keep Keras's.
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
