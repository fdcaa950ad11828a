"""The part of the parity check that runs on one backend: ``python -m keras_transfer.parity.worker JOB.json``.

The job names a task, a model file and an ``.npz`` file of batches:

``prepare``
    write the model file and the batches.
``gradients``
    compute the gradient of every trainable variable, in float64, with BatchNorm frozen.
``measure``
    compute logits, BatchNorm statistics after one update, and the losses of SGD steps with BatchNorm frozen; save the
    trained model for the other backends to load.
``load``
    compute the logits of every model file of the job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime
from keras_transfer.errors import UserError
from keras_transfer.evaluation.tasks import is_multi
from keras_transfer.keras_compat import all_layers
from keras_transfer.parity.prepare import prepare


def gradients(job: dict[str, Any]) -> None:
    """Compute the gradient of the first batch's loss with respect to every trainable variable."""
    import keras

    from keras_transfer.models import bundle
    from keras_transfer.models.freeze import unfreeze
    from keras_transfer.parity.float64 import float64_copy

    if job["backend"] == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    images, labels = _batches(job, step=0)
    model, metadata = bundle.load(job["model"], check=False)
    model = _without_dropout(model)
    unfreeze(model)  # a run keeps what its last phase has trained
    model = float64_copy(model)
    # After an SGD step of rate 1 the change of the weights is the gradient, computed by the real training path.
    _compile(model, 1.0, metadata)
    before = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables}
    loss = model.train_on_batch(images.astype(np.float64), labels.astype(np.float64))
    found = {f"gradient_{v.path}": before[v.path] - keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    np.savez(job["result"], loss=np.asarray(loss), **found)  # type: ignore[arg-type]


def measure(job: dict[str, Any]) -> None:
    """Compute logits, statistics and losses, and save them and the trained model."""
    import keras

    from keras_transfer.models import bundle
    from keras_transfer.models.freeze import freeze_batch_norm, unfreeze

    images, labels = _batches(job, step=0)
    model, metadata = bundle.load(job["model"], check=False)
    _without_dropout(model)
    found: dict[str, np.ndarray] = {"logits": _predict(model, images)}
    start = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in model.weights}

    # A training step of rate 0 changes only the statistics. Everything has a name, as the order of weights may differ.
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    unfreeze(model)
    _compile(model, 0.0, metadata)
    model.train_on_batch(images, labels)
    for variable in (v for layer in norms for v in (layer.moving_mean, layer.moving_variance)):
        found[f"statistic_{variable.path}"] = np.array(keras.ops.convert_to_numpy(variable))
    for v in model.weights:
        v.assign(start[v.path])

    freeze_batch_norm(model)
    _compile(model, float(job["learning_rate"]), metadata)
    losses = [
        float(model.train_on_batch(*_batches(job, step), return_dict=True)["loss"]) for step in range(int(job["steps"]))
    ]
    found["losses"] = np.array(losses)
    found["trained_logits"] = _predict(model, images)
    bundle.save(model, job["save"], metadata, images[:2])
    np.savez(job["result"], **found)  # type: ignore[arg-type]


def load(job: dict[str, Any]) -> None:
    """Compute the logits of every model file of the job."""
    from keras_transfer.models import bundle

    images, _ = _batches(job, step=0)
    found = {name: _predict(bundle.load(path)[0], images) for name, path in job["files"].items()}
    np.savez(job["result"], **found)  # type: ignore[arg-type]


def _batches(job: dict[str, Any], step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the uint8 images of a step, and their labels of 0 and 1, float32 (b, C)."""
    batches, size = np.load(job["batches"]), int(job["batch_size"])
    chosen = (np.arange(size) + step * size) % len(batches["images"])
    return batches["images"][chosen], batches["labels"][chosen]


def _without_dropout(model: Any) -> Any:
    """Set every dropout rate to 0: each framework draws its own random numbers."""
    import keras

    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def _compile(model: Any, rate: float, metadata: dict[str, Any]) -> None:
    import keras

    kind = keras.losses.BinaryCrossentropy if is_multi(metadata) else keras.losses.CategoricalCrossentropy
    model.compile(
        optimizer=keras.optimizers.SGD(rate),
        loss=kind(from_logits=True),
        jit_compile=False if keras.backend.backend() == "torch" else "auto",
    )


def _predict(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(images, batch_size=len(images), verbose=0), dtype=np.float32)


def main(path: str) -> None:
    """Run the job described by the JSON file at ``path``."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    runtime.activate(job["backend"], job["device"])
    runtime.hide_progress_bars()
    try:
        {"prepare": prepare, "gradients": gradients, "measure": measure, "load": load}[job["task"]](job)
    except UserError as error:
        sys.exit("\n".join(f"error: {line}" for line in str(error).splitlines()))


if __name__ == "__main__":
    main(sys.argv[1])
