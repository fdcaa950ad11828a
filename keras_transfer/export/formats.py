"""The table of export formats: backends and precisions of each, and why the others are not supported."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from types import ModuleType

from keras_transfer.errors import MissingExtra, UserError, unknown
from keras_transfer.runtime import BACKENDS

PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: name on the command line.
        title: name in messages.
        file: file name in float32; other precisions are inserted before the suffix (``model-int8.onnx``).
        packages: needed for writing and running, besides the backend; all in the extra ``export``.
        not_from: backend → why it cannot write this format.
        not_in: precision → why it is not available.
        writer_packages: backend → packages that only writing from it needs.
        by_way_of: precision → the format it is converted from.
        implementation: module that writes and runs it; default: ``keras_transfer.export.to_NAME``.
    """

    name: str
    title: str
    file: str
    packages: tuple[str, ...] = ()
    not_from: dict[str, str] = field(default_factory=dict)
    not_in: dict[str, str] = field(default_factory=dict)
    writer_packages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    by_way_of: dict[str, str] = field(default_factory=dict)
    implementation: str = ""

    def refusals(self, precision: str) -> dict[str, str]:
        """Return backend → why it cannot write this format in this precision."""
        if precision not in self.by_way_of:
            return self.not_from
        first = FORMATS[self.by_way_of[precision]]
        return {**self.not_from, **{backend: f"its {precision} is made from {first.title}, and {why}"
                                    for backend, why in first.refusals(precision).items()}}  # fmt: skip

    def backends(self, precision: str = "float32") -> tuple[str, ...]:
        """Return the backends that can write it, in order of preference."""
        return tuple(name for name in BACKENDS if name not in self.refusals(precision))

    def all_packages(self, backend: str, precision: str) -> tuple[str, ...]:
        """Return the packages needed for writing from this backend and running."""
        own = (*self.packages, *self.writer_packages.get(backend, ()))
        if precision not in self.by_way_of:
            return own
        return (*own, *FORMATS[self.by_way_of[precision]].all_packages(backend, precision))

    def file_name(self, precision: str) -> str:
        """Return the file (or folder) name."""
        stem, dot, suffix = self.file.partition(".")
        return self.file if precision == "float32" else f"{stem}-{precision}{dot}{suffix}"

    def module(self) -> ModuleType:
        """Import the module of the format: ``write(model, path, metadata, precision, images)`` and ``open_file(path)``."""
        return importlib.import_module(self.implementation or f"keras_transfer.export.to_{self.name}")

    def require(self, backend: str, precision: str) -> None:
        """Check that it can be written in this environment.

        Raises:
            UserError: not supported from this backend or in this precision.
            MissingExtra: a package is not installed.
        """
        if precision in self.not_in:
            offered = ", ".join(name for name in PRECISIONS if name not in self.not_in)
            raise UserError(
                f"{self.name} is not available in {precision}: {self.not_in[precision]} (available: {offered})"
            )
        refusals = self.refusals(precision)
        if backend in refusals:
            raise UserError(
                f"{self.name} cannot be written from {backend}: {refusals[backend]}; "
                f"use --backend {' or '.join(self.backends(precision))} (the model file loads on every backend)"
            )
        for package in self.all_packages(backend, precision):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package.replace("_", "-"), "export", f"export to {self.title}")


_CONVERTS_ONLY_TENSORFLOW = "its converter needs a TensorFlow graph"

FORMATS: dict[str, Format] = {
    item.name: item
    for item in (
        Format(
            "onnx",
            "ONNX",
            "model.onnx",
            packages=("onnx", "onnxruntime"),
            writer_packages={"torch": ("onnxscript",), "tensorflow": ("tf2onnx",)},
            not_from={"jax": "JAX has no ONNX exporter"},
        ),
        Format(
            "openvino",
            "OpenVINO",
            "model.xml",
            packages=("openvino",),
            by_way_of={"int8": "onnx"},
        ),
        Format(
            "torch",
            "PyTorch (ExportedProgram)",
            "model.pt2",
            not_from={
                "tensorflow": "an ExportedProgram is traced from PyTorch operations",
                "jax": "an ExportedProgram is traced from PyTorch operations",
            },
            not_in={
                "float16": "the program keeps the traced operations and dtypes",
                "int8": "the program keeps the traced operations and dtypes",
            },
        ),
        Format(
            "saved_model",
            "TensorFlow (SavedModel)",
            "saved_model",
            not_from={
                "torch": "Keras writes a SavedModel from TensorFlow operations only",
                "jax": "Keras writes a SavedModel from TensorFlow operations only",
            },
            not_in={
                "float16": "a SavedModel keeps the dtypes of the variables; use litert for float16",
                "int8": "a SavedModel keeps the dtypes of the variables; use litert for int8",
            },
        ),
        Format(
            "litert",
            "LiteRT (TensorFlow Lite)",
            "model.tflite",
            packages=("ai_edge_litert",),
            not_from={"torch": _CONVERTS_ONLY_TENSORFLOW, "jax": _CONVERTS_ONLY_TENSORFLOW},
        ),
    )
}
"""Name → record."""


def listed() -> str:
    """Return the names of all formats as prose, e.g. for a help text."""
    *others, last = FORMATS
    return f"{', '.join(others)} or {last}"


def get(name: str) -> Format:
    """Return the record of a format.

    Raises:
        UserError: unknown name; the message suggests the nearest.
    """
    if name not in FORMATS:
        raise unknown("export format", name, FORMATS)
    return FORMATS[name]
