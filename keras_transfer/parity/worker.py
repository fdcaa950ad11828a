"""What one backend computes for the parity check; run as ``python -m keras_transfer.parity.worker JOB.json``.

The job names a model file, an ``.npz`` of batches and what to do:

``measure``
    logits, BatchNorm statistics after one update, the gradient of every trainable variable, the loss of every
    step of SGD (the last two with BatchNorm frozen); then saves the trained model for the other backends to load.
``load``
    logits of every model file in the job.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime


def measure(job: dict[str, Any]) -> None:
    """Compute this backend's figures and save them beside the model that it trained."""
    import keras

    from keras_transfer.models import bundle

    batches = np.load(job["batches"])
    images, labels, steps = batches["images"], batches["labels"], int(job["steps"])
    model, metadata = bundle.load(job["model"], check=False)
    dropouts = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    for layer in dropouts:  # random by nature: every framework draws its own
        layer.rate = 0.0
    size = int(job["batch_size"])
    found: dict[str, np.ndarray] = {"logits": _predict(model, images[:size])}
    start = model.get_weights()

    # A step of rate 0 in training mode changes nothing but the statistics.
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    model.trainable = True
    _compile(model, 0.0)
    model.train_on_batch(images[:size], labels[:size])
    for index, variable in enumerate(v for layer in norms for v in layer.non_trainable_variables):
        found[f"statistic_{index}"] = np.array(keras.ops.convert_to_numpy(variable))
    model.set_weights(start)

    # One step of SGD with rate 1 leaves the gradient in the difference, through the real training path. BatchNorm is
    # frozen, as in the phases: in training mode its gradients amplify rounding a thousandfold over fifty layers.
    for layer in norms:
        layer.trainable = False
    _compile(model, 1.0)
    before = [np.array(keras.ops.convert_to_numpy(v), dtype=np.float64) for v in model.trainable_variables]
    model.train_on_batch(images[:size], labels[:size])
    for index, (variable, old) in enumerate(zip(model.trainable_variables, before)):
        found[f"gradient_{index}"] = (old - keras.ops.convert_to_numpy(variable)).astype(np.float32)

    model.set_weights(start)
    _compile(model, float(job["learning_rate"]))
    losses = []
    for step in range(steps):
        chosen = (np.arange(size) + step * size) % len(images)
        losses.append(float(model.train_on_batch(images[chosen], labels[chosen], return_dict=True)["loss"]))
    found["losses"] = np.array(losses)
    found["trained_logits"] = _predict(model, images[:size])
    bundle.save(model, job["save"], metadata, images[:2])
    np.savez(job["result"], **found)  # type: ignore[arg-type]


def load(job: dict[str, Any]) -> None:
    """Compute the logits of every model file in the job, whichever backend wrote it."""
    from keras_transfer.models import bundle

    batches = np.load(job["batches"])
    size = int(job["batch_size"])
    found = {name: _predict(bundle.load(path)[0], batches["images"][:size]) for name, path in job["files"].items()}
    np.savez(job["result"], **found)  # type: ignore[arg-type]


def _compile(model: Any, rate: float) -> None:
    import keras

    model.compile(
        optimizer=keras.optimizers.SGD(rate),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False if keras.backend.backend() == "torch" else "auto",
    )


def _predict(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(images, batch_size=len(images), verbose=0), dtype=np.float32)


def main(path: str) -> None:
    """Run the job described by the JSON file at ``path``."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    runtime.activate(job["backend"], job["device"])
    runtime.hide_progress_bars()
    {"measure": measure, "load": load}[job["task"]](job)


if __name__ == "__main__":
    main(sys.argv[1])
