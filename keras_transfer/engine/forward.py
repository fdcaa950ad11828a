"""The engine that computes predictions: OpenVINO on a CPU, where it is installed and agrees, or else the Keras backend.

``auto`` uses OpenVINO if it can and says in one line why not; ``openvino`` insists on it; ``native`` is the Keras backend.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from keras_transfer import runtime
from keras_transfer.engine import engine_files
from keras_transfer.errors import MissingExtra, UserError, unknown
from keras_transfer.files import temporary_folder
from keras_transfer.options import ENGINES
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from keras_transfer.engine.openvino_model import OpenVINOModel

TOLERANCE = 1e-4
"""Largest difference of logits from those of the framework, relative to the largest of them (at least 1)."""


class Forward(Protocol):
    """What predicts: a `keras.Model`, or what stands in for it."""

    def predict_on_batch(self, images: np.ndarray) -> Any:
        """Return the logits, float32 (n, C), of images (n, h, w, c)."""


def check_engine(engine: str, device: str | None = None) -> None:
    """Raise an error unless this engine is known, installed, and computes on this device."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine == "openvino":
        if not _installed():
            raise MissingExtra("openvino", "cpu", "the engine openvino")
        if device in ("gpu", "mps"):
            raise UserError(f"the engine openvino computes on the cpu, not on the device {device!r}")


def without_framework(model_file: Path, engine: str, device: str | None) -> tuple[OpenVINOModel, dict[str, Any]] | None:
    """Return the kept engine of a model file and its metadata, if OpenVINO is to be used, without importing a framework.

    The first golden image is computed again: a processor, or a release of OpenVINO, that gives other logits is found out.

    Args:
        model_file: the model; nothing of it is read but its digest.
        engine: ``"auto"``, ``"native"`` or ``"openvino"``.
        device: as asked for.
    """
    if engine == "native" or not _installed() or (engine == "auto" and not _on_cpu(device)):
        return None
    kept = engine_files.find(engine_files.digest_of(model_file))
    if kept is None:
        return None
    try:
        model = _compiled(kept.graph, kept.weights)
        if _difference(model, kept.images[:1], kept.logits[:1]) > TOLERANCE:
            return None
    except RuntimeError:  # OpenVINO's, for a graph that it cannot read or compute
        return None
    return model, kept.metadata


def fastest(
    model: Any, metadata: dict[str, Any], golden: np.ndarray, engine: str, say: Say, digest: str | None = None
) -> Forward:
    """Return what computes a loaded classifier's predictions fastest, after a proof that it computes the same.

    Args:
        model: a `keras.Model` from images to logits, in float32.
        metadata: of its file.
        golden: images to compare the engines on, uint8 (n, h, w, c).
        engine: ``"auto"``, ``"native"`` or ``"openvino"``.
        say: gets the reason why OpenVINO is not used.
        digest: of its file, where the engine is to be kept; the file has been read by the framework.

    Returns:
        An :class:`~keras_transfer.engine.openvino_model.OpenVINOModel`, or the model itself.

    Raises:
        UserError: ``openvino`` was asked for and cannot be used.
    """
    check_engine(engine)
    if engine == "native" or (engine == "auto" and runtime.device_in_use() != "cpu"):
        return model
    if not _installed():
        say('predictions would be faster with OpenVINO: pip install "keras_transfer[cpu]"')
        return model
    expected = np.asarray(model.predict_on_batch(golden), np.float32)
    try:
        graph, weights = _translated(model)
        made = _compiled(graph, weights)
        reason = _reason_against(made, golden, expected)
    except _Unusable as problem:
        reason = str(problem)
    if reason:
        if engine == "openvino":
            raise UserError(f"the engine openvino cannot be used: {reason}")
        say(f"OpenVINO is not used: {reason}")
        return model
    if digest is not None:
        engine_files.keep(digest, engine_files.Engine(graph, weights, metadata, golden, expected))
    return made


class _Unusable(Exception):
    """OpenVINO cannot be used for a model; the message says why."""


def _translated(model: Any) -> tuple[bytes, np.ndarray]:
    """Return a model as OpenVINO's XML and constants."""
    import openvino

    from keras_transfer.engine.openvino_graph import NotTranslatable, translate

    try:
        graph = translate(model, -1)
        with temporary_folder("write the model's graph for OpenVINO") as folder:
            openvino.save_model(graph, folder / "graph.xml", compress_to_fp16=False)
            return (folder / "graph.xml").read_bytes(), np.fromfile(folder / "graph.bin", np.uint8)
    except NotTranslatable as layer:
        raise _Unusable(f"its graph has no builder for the layer {layer}") from layer
    except RuntimeError as error:
        raise _Unusable(_first_line(error)) from error


def _compiled(graph: bytes, weights: np.ndarray) -> OpenVINOModel:
    import openvino

    from keras_transfer.engine.openvino_core import core
    from keras_transfer.engine.openvino_model import OpenVINOModel

    return OpenVINOModel(core().read_model(graph.decode(), openvino.Tensor(weights, shared_memory=True)), weights)


def _reason_against(made: OpenVINOModel, golden: np.ndarray, expected: np.ndarray) -> str:
    try:
        difference = _difference(made, golden, expected)
    except RuntimeError as error:
        return _first_line(error)
    if difference <= TOLERANCE:
        return ""
    return f"its logits differ by {difference:.2g} of their magnitude (allowed {TOLERANCE:g})"


def _difference(made: Forward, images: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of logits, relative to the largest of them; infinite for what is not a number."""
    with np.errstate(all="ignore"):
        difference = np.max(np.abs(made.predict_on_batch(images) - expected)) / max(
            1.0, float(np.max(np.abs(expected)))
        )
    return float(difference) if np.isfinite(difference) else float("inf")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]


def _installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _on_cpu(device: str | None) -> bool:
    """Return whether a framework would compute on the CPU, as far as that can be known without importing one."""
    if device not in (None, "auto"):
        return device == "cpu"
    accelerators = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/accel0")
    return sys.platform != "darwin" and not any(Path(name).exists() for name in accelerators)
