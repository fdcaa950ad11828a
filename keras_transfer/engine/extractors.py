"""What computes frozen features: OpenVINO on a processor, where it is installed, or else the backend itself."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np

from keras_transfer import runtime
from keras_transfer.engine.native import install

Tell = Callable[[str], None]
BATCH_SIZE = 16  # images a call: larger ones gain nothing on a processor, and the last one is filled up


class Extractor(Protocol):
    """An engine with a prefix loaded.

    Attributes:
        name: the engine with its version.
        precision: ``"float32"`` or ``"bfloat16"``: what it computes in.
    """

    name: str
    precision: str

    def compute(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number of the batch, float32 features), in any order.

        Args:
            batches: uint8 (b, height, width, channels), b at most :data:`BATCH_SIZE`.
        """


def choose_extractor(prefix: keras.Model, precision: str, native: bool, tell: Tell) -> Extractor:
    """Load a prefix into the fastest engine that is here; say so where that is not the one hoped for.

    Args:
        prefix: images to features, all frozen.
        precision: ``"float32"`` or ``"bfloat16"``.
        native: whether the backend may use fused torch operations.
        tell: is told why OpenVINO is not used on a processor.
    """
    if runtime.device_in_use() == "cpu":
        if importlib.util.find_spec("openvino") is None:
            tell('frozen features would be faster with OpenVINO: pip install "keras_transfer[cpu]"')
        else:
            from keras_transfer.engine.openvino_graph import NotTranslatable

            try:
                return OpenVINOExtractor(prefix, precision)
            except NotTranslatable as layer:
                tell(f"frozen features: OpenVINO is not used, since its graph has no builder for the layer {layer}")
    return BackendExtractor(prefix, native)


class OpenVINOExtractor:
    """OpenVINO's processor plugin, several batches at a time."""

    def __init__(self, prefix: keras.Model, precision: str):
        import openvino

        from keras_transfer.engine.openvino_graph import translate

        self.precision = precision
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self._graph = translate(prefix, BATCH_SIZE)

    @cached_property
    def _compiled(self) -> Any:
        import openvino

        # Said in any case: left to itself, OpenVINO computes float32 models in bfloat16 where that is faster.
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision],
        }
        return openvino.Core().compile_model(self._graph, "CPU", hints)

    def compute(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """See :class:`Extractor`."""
        # Requests without callbacks: a callback takes Python's lock in OpenVINO's thread, which deadlocks if the model
        # is destroyed, under that lock, while the last callback is still being cleared away.
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
    """Keras on the running backend, in the precision that the prefix's layers have."""

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
    """Repeat the last image up to the batch size: one shape for all batches, and engines compile once."""
    missing = BATCH_SIZE - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images
