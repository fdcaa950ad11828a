"""ONNX, run by ONNX Runtime: written by torch's own exporter, or from TensorFlow by tf2onnx."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.export.metadata import INPUT, OUTPUT, as_json, output_names

_QUANTIZED = ["Conv", "MatMul", "Gemm"]
_FIRST = 3  # convolutions kept in float32: a third less int8 error in MobileNetV2, at a quarter of OpenVINO's speed
IR_VERSION = 10  # file layout version: readable from ONNX Runtime 1.18 on; later versions need the newest release


def write(model: Any, path: Path, metadata: dict[str, Any], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as one ONNX file; see :mod:`keras_transfer.export.formats`."""
    import keras
    import onnx

    graph = {"torch": _from_torch, "tensorflow": _from_tensorflow}[keras.backend.backend()](model)
    if precision == "float16":
        graph = _float16(graph)
    elif precision == "int8":
        graph = _int8(graph, images)
    graph.ir_version = min(graph.ir_version, IR_VERSION)
    onnx.helper.set_model_props(graph, {key: as_json(value) for key, value in metadata.items()})
    onnx.save(graph, str(path))


def open_file(path: Path, output: str = OUTPUT) -> Callable[[np.ndarray], np.ndarray]:
    """Load the file into ONNX Runtime, on the CPU; the function returns the output of that name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run([output], {INPUT: images})[0]


def _from_torch(model: Any) -> Any:
    import torch

    from keras_transfer.export.to_torch import trace

    with _quiet():
        program = torch.onnx.export(
            trace(model), dynamo=True, verbose=False, input_names=[INPUT], output_names=output_names(model)
        )
    assert program is not None  # always a program with dynamo=True
    return program.model_proto


def _from_tensorflow(model: Any) -> Any:
    import tf2onnx

    from keras_transfer.export.to_saved_model import serving_function

    function = serving_function(model)
    with _quiet():
        return tf2onnx.convert.from_function(function, function.input_signature, opset=18)[0]


def _float16(graph: Any) -> Any:
    """Convert weights and operations to float16; input and logits stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(graph, keep_io_types=True)


def _int8(graph: Any, images: np.ndarray) -> Any:
    """Quantize the inputs and weights of all but the first convolutions, and of the last layer.

    Their outputs stay float32 until the next quantized layer: a range measured before an activation wastes most of its
    steps, and sums would accumulate the errors of all preceding blocks. Ranges are measured on the images.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(np.array_split(images, -(-len(images) // 8)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, prepared, quantized = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "prepared", "quantized"))
        onnx.save(graph, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantize_static(prepared, quantized, Images(), per_channel=True, op_types_to_quantize=_QUANTIZED,
                        nodes_to_exclude=convolutions[:_FIRST],
                        extra_options={"OpTypesToExcludeOutputQuantization": _QUANTIZED})  # fmt: skip
        return onnx.load(quantized)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' progress and hints; errors are raised as exceptions."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
