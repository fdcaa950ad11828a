"""The model and the batches that every backend starts from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime
from keras_transfer.config.schema import RunConfig
from keras_transfer.evaluation.tasks import is_multi

IMAGES = 64


def prepare(job: dict[str, Any]) -> None:
    """Write ``job["model"]`` and ``job["batches"]`` from a configuration (``config``) or a model file (``source``)."""
    if "config" in job:
        _from_config(job, RunConfig.model_validate(job["config"]))
    else:
        _from_model(job, Path(job["source"]), job["run"])


def _from_config(job: dict[str, Any], asked: RunConfig) -> None:
    import keras

    from keras_transfer.config.open_data import evaluation_transform, open_data
    from keras_transfer.models import bundle
    from keras_transfer.policy.resolve import Machine, resolve
    from keras_transfer.training import build

    data = open_data(asked)
    machine = Machine.of(asked, runtime.Choice(keras.backend.backend(), "where the comparison starts"))
    config = resolve(asked, data, machine, probe=False)
    runtime.set_seed(config.seed)
    model = build.make_model(config, data, "float32")
    images, labels = _batches(data.train, evaluation_transform(config.data))
    np.savez(job["batches"], images=images, labels=labels)
    bundle.save(model, job["model"], build.metadata_of(config, data), images[:2])


def _from_model(job: dict[str, Any], source: Path, run: str | None) -> None:
    from keras_transfer.config.open_data import open_data
    from keras_transfer.inference import transform_of
    from keras_transfer.models import bundle
    from keras_transfer.runs import RunDirectory, where_data_are

    _, metadata = bundle.load(source)
    shutil.copy(source, job["model"])
    if run is not None:
        images, labels = _batches(open_data(where_data_are(RunDirectory(run))).train, transform_of(metadata))
    else:
        images, labels = _random(metadata)
    np.savez(job["batches"], images=images, labels=labels)


def _batches(split: Any, transform: Any) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(split))[:IMAGES]
    images = np.stack([transform(split.read(i), None) for i in chosen])
    labels = split.labels[chosen]
    return images, labels.astype(np.float32) if split.is_multi else np.eye(len(split.classes), dtype=np.float32)[labels]


def _random(metadata: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    channels = 1 if metadata["color"] == "grey" else 3
    images = rng.integers(0, 256, (IMAGES, *metadata["image_size"], channels), dtype=np.uint8)
    classes = len(metadata["classes"])
    if is_multi(metadata):
        return images, rng.integers(0, 2, (IMAGES, classes)).astype(np.float32)
    return images, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, IMAGES)]
