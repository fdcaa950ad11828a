"""The callback that replaces Keras's training step where a step is computed in parts: micro-batches, or several processes."""

from __future__ import annotations

import keras

from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.errors import UserError
from keras_transfer.training.accumulate import Accumulate, part_size
from keras_transfer.training.setup import TrainingSettings
from keras_transfer.training.stopping import StopRequest


def stepping(
    settings: TrainingSettings, train: Batches, val: Batches | None, stop: StopRequest | None = None
) -> list[keras.callbacks.Callback]:
    """Return the callback for a ``fit``, to be called before all others; none where Keras's own step serves.

    Args:
        settings: of the training.
        train: training batches.
        val: validation batches; None: there are none.
        stop: a request to stop, which several processes follow together.
    """
    size = part_size(train.loader.batch_size, settings.accumulate)
    if not settings.group.divides:
        return [Accumulate(size)] if settings.accumulate > 1 else []
    backend = keras.backend.backend()
    if backend == "torch":
        from keras_transfer.training.data_parallel import DataParallel

        return [DataParallel(settings.group, train, val, size, stop or StopRequest(alone=False))]
    if backend == "jax":
        from keras_transfer.training.data_parallel_jax import OnDevices

        return [OnDevices(settings.group, train, val, size, stop or StopRequest(alone=False))]
    if settings.accumulate > 1:
        raise UserError(
            f"data.accumulate: {settings.accumulate} is not available on several devices of tensorflow: set distribute to none, "
            "or use backend: torch or jax"
        )
    from keras_transfer.training.data_parallel_tensorflow import OnReplicas

    return [OnReplicas()]
