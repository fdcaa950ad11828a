"""LiteRT, formerly TensorFlow Lite (.tflite): for mobile and embedded devices."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.export.metadata import INPUT, OUTPUT, as_json
from keras_transfer.export.to_saved_model import write as write_saved_model
from keras_transfer.files import add_member

METADATA, LABELS = "metadata.json", "labels.txt"
_STAY_FLOAT = ["ADD", "FULLY_CONNECTED"]
_FIRST = 2


def write(model: Any, path: Path, metadata: dict[str, Any], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as a .tflite file; see :mod:`keras_transfer.export.formats`.

    The metadata are in a zip archive appended to the graph, as TensorFlow Lite stores associated files.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, Path(folder), metadata, precision, images)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        plain = tf.lite.TFLiteConverter.from_saved_model(folder)
        path.write_bytes(_int8(converter, plain, images) if precision == "int8" else converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        add_member(archive, METADATA, as_json(metadata))
        add_member(archive, LABELS, "\n".join(metadata["classes"]) + "\n")


def open_file(path: Path, output: str = OUTPUT) -> Callable[[np.ndarray], np.ndarray]:
    """Load the file into the LiteRT interpreter; the function returns the output of that name."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    return lambda images: run(**{INPUT: images})[output]


def _int8(converter: Any, plain: Any, images: np.ndarray) -> bytes:
    """Quantize all but the first two convolutions, sums and the last layer, whose output may exceed the measured range.

    TensorFlow can exclude layers only through its quantization debugger.
    """
    import tensorflow as tf

    converter.representative_dataset = lambda: _one_by_one(images)
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=_STAY_FLOAT, denylisted_nodes=_convolutions(plain.convert())[:_FIRST]
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
    )
    quantized: bytes = debugger.get_nondebug_quantized_model()
    return quantized


def _convolutions(graph: bytes) -> list[str]:
    """Return the names of the outputs of the convolutions, in execution order."""
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_content=graph)
    names = {tensor["index"]: tensor["name"] for tensor in opened.get_tensor_details()}
    return [
        names[step["outputs"][0]]
        for step in opened._get_ops_details()
        if step["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]


def _one_by_one(images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for image in images:
        yield {INPUT: image[None]}
