"""Engines that compute frozen features: OpenVINO on a CPU, where it is installed, or else the Keras backend."""

from __future__ import annotations

import importlib.util
import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np

from keras_transfer import runtime
from keras_transfer.engine.native import install
from keras_transfer.engine.openvino_core import core
from keras_transfer.typing import Say

BATCH_SIZE = 16  # images per call: larger batches are no faster on a CPU, and the last batch is padded to this size

TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1}
"""How far features may be from the backend's, relative to the largest."""
_MOVING = ("Permute", "Transpose", "Matmul")


class Extractor(Protocol):
    """An engine that has loaded a frozen prefix.

    Attributes:
        name: the engine and its version.
        precision: ``"float32"`` or ``"bfloat16"``, the precision that it computes in.
    """

    name: str
    precision: str

    def compute(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (batch number, float32 features), in any order.

        Args:
            batches: uint8 (b, height, width, channels), b at most :data:`BATCH_SIZE`.
        """


def choose_extractor(prefix: keras.Model, precision: str, native: bool, say: Say) -> Extractor:
    """Load a prefix into the fastest engine that is available.

    Args:
        prefix: images to features, all frozen.
        precision: ``"float32"`` or ``"bfloat16"``.
        native: whether the backend may use native operations (:mod:`keras_transfer.engine.native`).
        say: gets the reason why OpenVINO is not used on a CPU.
    """
    if runtime.device_in_use() == "cpu":
        if importlib.util.find_spec("openvino") is None:
            say('frozen features would be faster with OpenVINO: pip install "keras_transfer[cpu]"')
        else:
            from keras_transfer.engine.openvino_graph import NotTranslatable

            try:
                return _proved(OpenVINOExtractor(prefix, precision), prefix)
            except NotTranslatable as layer:
                say(f"frozen features: OpenVINO is not used: its graph has no builder for the layer {layer}")
            except RuntimeError as error:  # OpenVINO's own
                reason = " ".join(str(error).split())
                say(f"frozen features: OpenVINO is not used: it cannot compute this network: {reason[:160]}")
    return BackendExtractor(prefix, native)


def _proved(extractor: OpenVINOExtractor, prefix: keras.Model) -> OpenVINOExtractor:
    """Return the extractor; where axes are moved, only after it has computed the same as the backend for two pictures of noise.

    Optimizing such graphs, OpenVINO 2026.4 takes some for others. Without them, the proof would cost time and never find anything.

    Raises:
        RuntimeError: it does not, or cannot.
    """
    if not any(type(layer).__name__ in _MOVING for layer in prefix.layers):
        return extractor
    images = np.random.default_rng(0).integers(0, 256, (2, *prefix.input_shape[1:])).astype(np.uint8)
    ((_, found),) = extractor.compute([images])
    wanted = np.asarray(keras.ops.convert_to_numpy(prefix.predict_on_batch(_filled(images))), np.float32)[:2]
    allowed = TOLERANCES[extractor.precision] * float(np.abs(wanted).max())
    far = float(np.abs(found.reshape(wanted.shape) - wanted).max())
    if not far <= allowed:
        raise RuntimeError(f"its features differ by {far:.2g}")
    return extractor


class OpenVINOExtractor:
    """OpenVINO's CPU plugin, several batches at a time."""

    def __init__(self, prefix: keras.Model, precision: str):
        import openvino

        from keras_transfer.engine.openvino_graph import translate

        self.precision = precision
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self._graph = translate(prefix, BATCH_SIZE)

    @cached_property
    def _compiled(self) -> Any:
        # Always explicit: by default, OpenVINO computes float32 models in bfloat16 where that is faster.
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision],
        }
        if runtime.usable_cores() < (os.cpu_count() or 1):
            hints["INFERENCE_NUM_THREADS"] = str(runtime.usable_cores())
        return core().compile_model(self._graph, "CPU", hints)

    def compute(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """See :class:`Extractor`."""
        # Requests without callbacks: a callback acquires the GIL in OpenVINO's thread, which deadlocks if the model is
        # destroyed, with the GIL held, while the last callback is still being cleaned up.
        idle = [
            self._compiled.create_infer_request()
            for _ in range(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        ]
        running: deque[tuple[int, int, Any]] = deque()

        def oldest() -> tuple[int, np.ndarray]:
            number, count, request = running.popleft()
            request.wait()
            idle.append(request)
            return number, request.get_output_tensor(0).data[:count].copy()

        for number, images in enumerate(batches):
            if not idle:
                yield oldest()
            request = idle.pop()
            request.start_async([_filled(images)])
            running.append((number, len(images), request))
        while running:
            yield oldest()


class BackendExtractor:
    """Keras on the running backend, in the precision of the prefix's layers."""

    def __init__(self, prefix: keras.Model, native: bool):
        self._prefix = prefix
        backend = keras.backend.backend()
        self.precision = "bfloat16" if any(layer.compute_dtype == "bfloat16" for layer in prefix.layers) else "float32"
        self.name = f"{backend} {runtime.versions().get(backend, '')}".strip()
        if native and install(prefix).count:
            self.name += ", native"

    def compute(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """See :class:`Extractor`."""
        for number, images in enumerate(batches):
            found = self._prefix.predict_on_batch(_filled(images))
            yield number, np.asarray(keras.ops.convert_to_numpy(found), np.float32)[: len(images)]


def _filled(images: np.ndarray) -> np.ndarray:
    """Repeat the last image up to the batch size: with one shape for all batches, engines compile once."""
    missing = BATCH_SIZE - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images
