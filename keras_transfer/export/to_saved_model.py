"""TensorFlow's SavedModel, a folder: runs in TensorFlow and TensorFlow Serving without Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.export.metadata import INPUT, OUTPUT, output_names
from keras_transfer.files import write_json

SIGNATURE = "serving_default"
METADATA = "assets.extra/metadata.json"  # TensorFlow's place for files that are not part of the graph


def write(model: Any, path: Path, metadata: dict[str, Any], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as a folder with one signature; see :mod:`keras_transfer.export.formats`."""
    import tensorflow as tf

    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.serve = serving_function(model)
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.serve})
    write_json(path / METADATA, metadata)


def serving_function(model: Any) -> Any:
    """Return the model as a ``tf.function`` from ``image`` to ``{"logits": …}`` (and ``"novelty"``), for any batch size."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=INPUT)])
    def serve(image: Any) -> Any:
        found = model(image, training=False)
        return dict(zip(output_names(model), found if len(model.outputs) > 1 else [found]))

    return serve


def open_file(path: Path, output: str = OUTPUT) -> Callable[[np.ndarray], np.ndarray]:
    """Load the folder; the function returns the output of that name."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def logits(images: np.ndarray) -> np.ndarray:
        # Looked up at each call: a signature alone does not keep the variables alive.
        return loaded.signatures[SIGNATURE](**{INPUT: tf.constant(images)})[output].numpy()

    return logits
