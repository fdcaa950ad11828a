"""LiteRT, once TensorFlow Lite (.tflite): for phones and small devices."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.export.facts import INPUT, OUTPUT
from keras_transfer.export.to_saved_model import write as write_saved_model

METADATA, LABELS = "metadata.json", "labels.txt"


def write(model: Any, path: Path, facts: dict[str, str], precision: str, pictures: np.ndarray) -> None:
    """Write ``model`` as a .tflite file; see :mod:`keras_transfer.export.formats`.

    The metadata are in a zip archive behind the graph, as TensorFlow Lite puts a model's associated files.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, Path(folder), facts, precision, pictures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif precision == "int8":
            converter.representative_dataset = lambda: _one_by_one(pictures)
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps({k: json.loads(v) for k, v in facts.items()}, ensure_ascii=False))
        archive.writestr(LABELS, "\n".join(json.loads(facts["classes"])) + "\n")


def open_file(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Open the file in LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    return lambda images: run(**{INPUT: images})[OUTPUT]


def _one_by_one(pictures: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for picture in pictures:
        yield {INPUT: picture[None]}
