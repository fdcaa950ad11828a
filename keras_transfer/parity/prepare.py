"""Write the model and the batches that every backend starts from; run as ``python -m …prepare JOB.json``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError

IMAGES = 64


def prepare(job: dict[str, Any]) -> None:
    """Write ``start.keras`` and ``batches.npz`` into the job's folder."""
    runtime.activate(job["backend"], "cpu")
    runtime.hide_progress_bars()
    work = Path(job["work"])
    if "config" in job:
        _from_config(RunConfig.model_validate(job["config"]), job["backend"], work)
    else:
        _from_model(Path(job["model"]), job["run"], work)


def _from_config(asked: RunConfig, backend: str, work: Path) -> None:
    from keras_transfer.config.open_data import evaluation_transform, open_data
    from keras_transfer.models import bundle
    from keras_transfer.policy.resolve import Machine, resolve
    from keras_transfer.training import build

    data = open_data(asked)
    machine = Machine.of(asked, runtime.Choice(backend, "where the comparison starts"))
    config = resolve(asked, data, machine, probe=False)
    runtime.set_seed(config.seed)
    model = build.make_model(config, data, "float32")
    images, labels = _batches(data.train, evaluation_transform(config.data))
    np.savez(work / "batches.npz", images=images, labels=labels)
    bundle.save(model, work / "start.keras", build.metadata_of(config, data), images[:2])


def _from_model(model: Path, run: str | None, work: Path) -> None:
    from keras_transfer.config.open_data import open_data
    from keras_transfer.inference import transform_of
    from keras_transfer.models import bundle
    from keras_transfer.runs import RunDirectory

    _, metadata = bundle.load(model)
    shutil.copy(model, work / "start.keras")
    if run is not None:
        images, labels = _batches(open_data(RunDirectory(run).read_config()).train, transform_of(metadata))
    else:
        images, labels = _random(metadata)
    np.savez(work / "batches.npz", images=images, labels=labels)


def _batches(split: Any, transform: Any) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(split))[:IMAGES]
    images = np.stack([transform(split.read(i), None) for i in chosen])
    return images, np.eye(len(split.classes), dtype=np.float32)[split.labels[chosen]]


def _random(metadata: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    channels = 1 if metadata["color"] == "grey" else 3
    images = rng.integers(0, 256, (IMAGES, *metadata["image_size"], channels), dtype=np.uint8)
    classes = len(metadata["classes"])
    return images, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, IMAGES)]


if __name__ == "__main__":
    try:
        prepare(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except UserError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))
