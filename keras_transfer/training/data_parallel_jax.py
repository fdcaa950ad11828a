"""Training steps on several devices of one process with jax: ``keras.distribution.DataParallel`` divides every batch among them.

A batch must divide by the devices: it is filled up with images of its own, whose outputs are cut off before loss and metrics, so that
both are those of the batch. The compiler adds up gradients over the devices; BatchNormalization that trains sees the whole batch, with
what fills it up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import keras
import numpy as np

from keras_transfer.keras_compat import stateless_metrics_update
from keras_transfer.training.accumulate import parts_of
from keras_transfer.training.dropout_masks import replace_dropout, restore_dropout


class OnDevices(keras.callbacks.Callback):
    """Replace the steps of a ``fit`` by those on all devices. Must be the first callback.

    Args:
        size: most images that are computed at once, on all devices together.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = int(size)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Replace the functions that Keras has just made, or would make."""
        devices = _Devices()
        self.model.train_function = _train_step(self.model, self.size, devices)
        self.model.test_function = _test_step(self.model, devices)
        replace_dropout(self.model, lambda: devices.images, _filled)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Let Keras make its own functions again."""
        self.model.train_function = self.model.test_function = None
        restore_dropout(self.model)


def _filled(factors: Any, count: int) -> Any:
    """Return factors of 1 for what fills up a batch."""
    return keras.ops.concatenate([factors, keras.ops.ones((count - len(factors), *factors.shape[1:]), factors.dtype)])


class _Devices:
    """All devices, as Keras lays data out on them.

    Attributes:
        images: in the batch that was divided last, without what fills it up.
    """

    def __init__(self) -> None:
        self._layouts = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
        mesh = self._layouts.device_mesh
        self.count, self.images = int(mesh.devices.size), 0
        whole: Any = jax.sharding.PartitionSpec  # untyped
        self.everywhere = jax.sharding.NamedSharding(mesh.backend_mesh, whole())

    def divide(self, x: Any) -> Any:
        """Return images (b, …), filled up and divided among the devices."""
        self.images = len(x)
        missing = -self.images % self.count
        if missing:
            x = np.asarray(x)
            x = np.concatenate([x, x[np.arange(missing) % len(x)]])
        return keras.distribution.distribute_tensor(x, self._layouts.get_data_layout(x.shape))

    def same(self, values: Any) -> Any:
        """Return arrays with a copy on every device."""
        return jax.tree_util.tree_map(lambda value: jax.device_put(value, self.everywhere), values)


def _loss(
    model: keras.Model,
    training: bool,
    trained: Any,
    others: Any,
    metrics: Any,
    optimizer: Any,
    x: Any,
    y: Any,
    weights: Any,
) -> Any:
    """Return the loss of the images that have a label, scaled as the optimizer wants it; and (loss, predictions, other variables)."""
    predicted, others, _ = model.stateless_call(trained, others, x, return_losses=True, training=training)
    predicted = predicted[: len(y)]
    loss, (_, others, metrics) = model.stateless_compute_loss(
        trained, others, metrics, x=x, y=y, y_pred=predicted, sample_weight=weights, training=training
    )
    scaled = loss
    if training:
        with keras.StatelessScope(state_mapping=list(zip(model.optimizer.variables, optimizer))):
            scaled = model.optimizer.scale_loss(loss)
    return scaled, (loss, predicted, others, metrics)


def _train_step(model: keras.Model, size: int, devices: _Devices) -> Callable[[Any, Any], Any]:
    update_metrics = stateless_metrics_update(model)
    differentiate = jax.value_and_grad(partial(_loss, model, True), has_aux=True)

    def add(state: Any, gradients: Any, share: Any, x: Any, y: Any, weights: Any) -> Any:
        trained, others, optimizer, metrics = state
        (_, (loss, predicted, others, metrics)), more = differentiate(
            trained, others, metrics, optimizer, x, y, weights
        )
        logs, metrics = update_metrics(metrics, loss, y, y, predicted, weights)
        gradients = [old + share * new for old, new in zip(gradients, more)]
        return logs, (trained, others, optimizer, metrics), gradients

    def apply(state: Any, gradients: Any) -> Any:
        trained, others, optimizer, metrics = state
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        return trained, others, optimizer, metrics

    if model.jit_compile:
        add = jax.jit(add, donate_argnums=(0, 1), out_shardings=devices.everywhere)
        apply = jax.jit(apply, donate_argnums=0, out_shardings=devices.everywhere)

    def step(state: Any, iterator: Any) -> Any:
        logs: Any = {}
        state = devices.same(state)
        gradients = devices.same([jax.numpy.zeros_like(value) for value in state[0]])
        for share, (x, *labels) in parts_of(next(iterator), size):
            logs, state, gradients = add(state, gradients, share, devices.divide(x), *devices.same(tuple(labels)))
        return logs, apply(state, gradients)

    return step


def _test_step(model: keras.Model, devices: _Devices) -> Callable[[Any, Any], Any]:
    update_metrics = stateless_metrics_update(model)

    def judge(state: Any, x: Any, y: Any, weights: Any) -> Any:
        trained, others, metrics = state
        _, (loss, predicted, others, metrics) = _loss(model, False, trained, others, metrics, None, x, y, weights)
        logs, metrics = update_metrics(metrics, loss, y, y, predicted, weights)
        return logs, (trained, others, metrics)

    if model.jit_compile:
        judge = jax.jit(judge, donate_argnums=0, out_shardings=devices.everywhere)

    def step(state: Any, iterator: Any) -> Any:
        x, *labels = keras.utils.unpack_x_y_sample_weight(next(iterator))
        return judge(devices.same(state), devices.divide(x), *devices.same(tuple(labels)))

    return step
