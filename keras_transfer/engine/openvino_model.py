"""A classifier compiled by OpenVINO for the CPU, from images to logits. Neither Keras nor a framework is imported."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import openvino

from keras_transfer.engine.openvino_core import core
from keras_transfer.runtime import usable_cores

BATCH_SIZE = 16
"""Images per call: larger batches are no faster on a CPU."""
_FEW = 8  # up to as many images are computed one by one: padding them to a batch would take longer


class OpenVINOModel:
    """A graph that OpenVINO has loaded; it stands in for a `keras.Model` wherever only predictions are asked for.

    Args:
        graph: an ``openvino.Model`` from uint8 (any, h, w, c) to float32 logits (any, C).

        weights: the memory that its constants are in, which has to stay as long as the graph does.

    Attributes:
        name: the engine and its version.
        input_shape: (None, h, w, c).
        output_shape: (None, C).
    """

    def __init__(self, graph: openvino.Model, weights: object):
        self._graph, self._weights = graph, weights
        self.name = f"OpenVINO {version()}"
        self.input_shape = (None, *(dimension.get_length() for dimension in list(graph.input(0).partial_shape)[1:]))
        self.output_shape = (None, *(dimension.get_length() for dimension in list(graph.output(0).partial_shape)[1:]))

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of images: uint8 (n, h, w, c) → float32 (n, C). Threads may call it at the same time."""
        compiled, size = (self._single, 1) if len(images) <= _FEW else (self._many, BATCH_SIZE)
        request = compiled.create_infer_request()
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            request.infer([_filled(part, size)])
            parts.append(request.get_output_tensor(0).data[: len(part)].copy())
        return np.concatenate(parts)

    def predict_stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the logits of each batch, in order, while the next ones are read and computed.

        Args:
            batches: uint8 (n, h, w, c), of any n.
        """
        # Requests without callbacks, as in engine.extractors.
        idle = [self._many.create_infer_request() for _ in range(self.requests)]
        running: deque[tuple[int, bool, Any]] = deque()
        parts: list[np.ndarray] = []

        def oldest() -> Iterator[np.ndarray]:
            count, last, request = running.popleft()
            request.wait()
            parts.append(request.get_output_tensor(0).data[:count].copy())
            idle.append(request)
            if last:
                yield np.concatenate(parts)
                parts.clear()

        for images in batches:
            for start in range(0, len(images), BATCH_SIZE):
                part = images[start : start + BATCH_SIZE]
                if not idle:
                    yield from oldest()
                request = idle.pop()
                request.start_async([_filled(part, BATCH_SIZE)])
                running.append((len(part), start + BATCH_SIZE >= len(images), request))
        while running:
            yield from oldest()

    @cached_property
    def requests(self) -> int:
        """Number of batches that are best computed at the same time."""
        return int(self._many.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    @cached_property
    def _single(self) -> openvino.CompiledModel:
        return self._compile(1, "LATENCY")

    @cached_property
    def _many(self) -> openvino.CompiledModel:
        return self._compile(BATCH_SIZE, "THROUGHPUT")

    def _compile(self, batch_size: int, hint: str) -> openvino.CompiledModel:
        graph = self._graph.clone()
        graph.reshape([batch_size, *self.input_shape[1:]])
        # Always explicit: by default, OpenVINO computes float32 models in bfloat16 where that is faster.
        hints = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
        if usable_cores() < (os.cpu_count() or 1):
            hints["INFERENCE_NUM_THREADS"] = str(usable_cores())
        return core().compile_model(graph, "CPU", hints)


def version() -> str:
    """Return OpenVINO's version, such as ``2026.4.1``."""
    return openvino.__version__.partition("-")[0]


def _filled(images: np.ndarray, size: int) -> np.ndarray:
    """Return a batch of this size, repeating the last image."""
    if images.dtype != np.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    missing = size - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images
