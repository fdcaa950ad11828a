"""Keys of cached features: hashes of everything that the features depend on, so that no entry can be stale."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import keras
import numpy as np

from keras_transfer.data.loading.loader import Loader
from keras_transfer.keras_compat import graph_nodes
from keras_transfer.runtime import versions

LAYOUT = 1  # version of the key and of the file format
_NO_EFFECT = (
    "name",
    "trainable",
    "dtype",
    "batch_shape",
)  # entries of a frozen layer's configuration that do not change its output


def features_key(prefix: str, loader: Loader, view: int | None, engine: str) -> str:
    """Return the key of one view of a split's images: hex SHA-256.

    Args:
        prefix: result of :func:`prefix_digest`.
        loader: loader of the images.
        view: number of the augmented view, or None.
        engine: name, version and precision of the engine.
    """
    split = loader.split
    parts: dict[str, Any] = {
        "layout": LAYOUT,
        "prefix": prefix,
        "images": images_digest(split),
        "transform": repr(loader.transform),
        "opencv": versions().get("opencv-python-headless"),
        "engine": engine,
    }
    if view is not None:  # random numbers are keyed by (seed, position in the data set, view)
        places = hashlib.sha256(np.ascontiguousarray(split.indices, "<i8").tobytes()).hexdigest()
        parts["view"] = [view, loader.seed, places]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prefix_digest(model: keras.Model) -> str:
    """Return the hex SHA-256 of a functional model's operations, connections and weights; names are left out."""
    digest = hashlib.sha256()
    number = {id(tensor): i for i, tensor in enumerate(model.inputs)}
    digest.update(repr([tuple(tensor.shape) for tensor in model.inputs]).encode())
    for node in graph_nodes(model):
        operation = node.operation
        wires = [number[id(tensor)] for tensor in node.input_tensors]
        number |= {id(tensor): len(number) + i for i, tensor in enumerate(node.outputs)}
        step = [type(operation).__name__, wires, _config(operation)]
        digest.update(json.dumps(step, sort_keys=True, default=repr).encode())
        for variable in getattr(operation, "weights", []):
            value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()


def images_digest(split: Any) -> str:
    """Return the hex SHA-256 of a split's images, in order: names, contents, sizes and modification times of the files.

    The contents are those found when the data was checked. Images in memory are hashed by their pixels. Labels are left out.
    """
    images = split.samples.images.take(split.indices)
    digest = hashlib.sha256()
    for i, stamp in enumerate(images.stamps()):
        digest.update(images.name(i).encode("utf-8", "surrogateescape") + b"\0" + stamp)
    return digest.hexdigest()


def _config(operation: Any) -> dict[str, Any]:
    is_layer = isinstance(operation, keras.layers.Layer)
    config = operation.get_config() if is_layer else vars(operation)
    return {key: value for key, value in config.items() if key not in _NO_EFFECT and not key.startswith("_")}
