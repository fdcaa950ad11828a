"""OpenVINO (.xml and .bin): a channels-first graph written from the Keras layers, on any backend; int8 from ONNX.

OpenVINO takes over the ranges of the quantized ONNX file and computes in int8.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.engine.openvino_core import core
from keras_transfer.errors import UserError
from keras_transfer.export.metadata import INPUT, OUTPUT, as_json, output_names

SECTION = "keras_transfer"
ANY = -1  # a dynamic dimension


def write(model: Any, path: Path, metadata: dict[str, Any], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as an .xml file and its weights as a .bin file; see :mod:`keras_transfer.export.formats`."""
    import openvino

    graph = _int8(model, images) if precision == "int8" else _translated(model)
    for key, value in metadata.items():
        graph.set_rt_info(as_json(value), [SECTION, key])
    openvino.save_model(graph, str(path), compress_to_fp16=precision == "float16")


def _translated(model: Any) -> Any:
    from keras_transfer.engine.openvino_graph import NotTranslatable, translate

    try:
        graph = translate(model, ANY, np.float32)
    except NotTranslatable as layer:
        raise UserError(f"OpenVINO export does not support the layer {layer}; export to onnx instead") from layer
    graph.input(0).set_names({INPUT})
    for place, name in enumerate(output_names(model)):
        graph.output(place).set_names({name})
    return graph


def _int8(model: Any, images: np.ndarray) -> Any:
    from keras_transfer.export import to_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        to_onnx.write(model, file, {}, "int8", images)
        return core().read_model(file.read_bytes())  # from memory, so that the file can be deleted


def open_file(path: Path, output: str = OUTPUT) -> Callable[[np.ndarray], np.ndarray]:
    """Compile the file for the CPU; the function returns the output of that name."""
    # Without the hint OpenVINO computes in bfloat16 where that is faster.
    compiled = core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[output]
