"""Training steps on several devices with jax, of one process or of several: ``keras.distribution.DataParallel`` divides every batch among them.

A batch must divide by the devices: it is filled up with images of its own, whose outputs are left out before loss and metrics, so that
both are those of the batch. The compiler adds up gradients over all devices; BatchNormalization that trains sees the whole batch, with
what fills it up. Several processes run the same program at the same time, each on its share of the batch; between the steps each has an
ordinary copy of all variables, so that callbacks and whatever process 0 does alone need no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import keras
import numpy as np

from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.distribute import Group
from keras_transfer.keras_compat import stateless_metrics_update
from keras_transfer.training.divided_batch import Part, parts_of_share
from keras_transfer.training.dropout_masks import replace_dropout, restore_dropout
from keras_transfer.training.stopping import StopRequest

_UNTYPED: Any = jax


class OnDevices(keras.callbacks.Callback):
    """Replace the steps of a ``fit`` by those on all devices. Must be the first callback.

    Args:
        group: of this process.
        train: its training batches.
        val: its validation batches; None: there are none.
        size: most images that are computed at once, on all devices together.
        stop: a request to stop in one process becomes one in all, after the same step.
    """

    def __init__(self, group: Group, train: Batches, val: Batches | None, size: int, stop: StopRequest):
        super().__init__()
        self.group, self.train, self.val, self.stop, self.size = group, train, val, stop, int(size)
        self.images = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Replace the functions that Keras has just made, or would make."""
        devices = _Devices(self.group)
        train_step, test_step = _train_step(self.model, devices), _test_step(self.model, devices)

        def train(state: Any, iterator: Any) -> Any:
            batch = next(iterator)
            found = train_step(state, batch, self._parts(batch, devices, self.size))
            if self.group.size > 1:
                self.stop.asked |= not self.group.all(not self.stop.wanted)
            return found

        def test(state: Any, iterator: Any) -> Any:
            batch = next(iterator)
            (part,) = self._parts(batch, devices, None)
            return test_step(state, batch, part)

        self.model.train_function, self.model.test_function = train, test
        replace_dropout(
            self.model, lambda: len(devices.part.images), lambda factors, count: factors[devices.part.source]
        )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Let Keras make its own functions again."""
        self.model.train_function = self.model.test_function = None
        restore_dropout(self.model)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Note the size of the whole batch."""
        self.images = self.train.batch_length(batch)

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Note the size of the whole batch."""
        if self.val is not None:
            self.images = self.val.batch_length(batch)

    def _parts(self, batch: Any, devices: _Devices, size: int | None) -> list[Part]:
        images = len(batch[0]) if self.group.size == 1 else self.images
        return list(parts_of_share(images, self.group.shard, devices.local, size or images))


class _Devices:
    """All devices, as Keras lays data out on them.

    Attributes:
        local: number of this process's devices.
        part: what was divided last.
    """

    part: Part

    def __init__(self, group: Group) -> None:
        self._layouts = keras.distribution.DataParallel(
            devices=keras.distribution.list_devices(), auto_shard_dataset=False
        )
        mesh = self._layouts.device_mesh.backend_mesh
        self._own, self._alone = list(mesh.local_devices), group.size == 1
        self.local = len(self._own)
        self.everywhere = _UNTYPED.sharding.NamedSharding(mesh, _UNTYPED.sharding.PartitionSpec())

    def divide(self, batch: Any, part: Part) -> Any:
        """Return (x, y, weights or None) of a part, the rows of all processes divided among the devices."""
        self.part = part
        return tuple(None if rows is None else self._divided(np.asarray(rows)[part.rows]) for rows in batch)

    def _divided(self, rows: np.ndarray) -> Any:
        layout, divided = (
            self._layouts.get_data_layout(rows.shape).backend_layout,
            _UNTYPED.make_array_from_process_local_data,
        )
        return divided(layout, rows)

    def same(self, values: Any) -> Any:
        """Return arrays with a copy on every device, given this process's."""
        return jax.tree_util.tree_map(self._spread, values)

    def _spread(self, value: Any) -> Any:
        if self._alone:
            return jax.device_put(value, self.everywhere)
        copies = [jax.device_put(value, device) for device in self._own]
        return jax.make_array_from_single_device_arrays(np.shape(value), self.everywhere, copies)

    def own(self, values: Any) -> Any:
        """Return this process's copy of arrays that are the same everywhere."""
        return values if self._alone else jax.tree_util.tree_map(lambda value: value.addressable_data(0), values)

    def whole(self, rows: Any, images: Any) -> Any:
        """Return the rows of the images, in the order of the batch, on every device."""
        return None if rows is None else _UNTYPED.lax.with_sharding_constraint(rows, self.everywhere)[images]


def _loss(
    model: keras.Model,
    training: bool,
    trained: Any,
    others: Any,
    metrics: Any,
    optimizer: Any,
    data: Any,
    whole: Callable[[Any], Any],
) -> Any:
    """Return the loss of the images, scaled as the optimizer wants it; and (loss, predictions, other variables, metrics)."""
    x, y, weights = data
    predicted, others, _ = model.stateless_call(trained, others, x, return_losses=True, training=training)
    predicted = whole(predicted)
    loss, (_, others, metrics) = model.stateless_compute_loss(
        trained, others, metrics, x=x, y=y, y_pred=predicted, sample_weight=weights, training=training
    )
    scaled = loss
    if training:
        with keras.StatelessScope(state_mapping=list(zip(model.optimizer.variables, optimizer))):
            scaled = model.optimizer.scale_loss(loss)
    return scaled, (loss, predicted, others, metrics)


def _train_step(model: keras.Model, devices: _Devices) -> Callable[[Any, Any, list[Part]], Any]:
    update_metrics = stateless_metrics_update(model)
    differentiate = jax.value_and_grad(partial(_loss, model, True), has_aux=True)

    def add(state: Any, gradients: Any, share: Any, data: Any, images: Any) -> Any:
        trained, others, optimizer, metrics = state
        whole = partial(devices.whole, images=images)
        x, y, weights = data[0], *map(whole, data[1:])
        (_, (loss, predicted, others, metrics)), more = differentiate(
            trained, others, metrics, optimizer, (x, y, weights), whole
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

    def step(state: Any, batch: Any, parts: list[Part]) -> Any:
        logs: Any = {}
        gradients = devices.same([jax.numpy.zeros_like(value) for value in state[0]])
        state = devices.same(state)
        count, batch = sum(len(part.images) for part in parts), keras.utils.unpack_x_y_sample_weight(batch)
        for part in parts:
            share = np.float32(len(part.images) / count)
            logs, state, gradients = add(state, gradients, share, devices.divide(batch, part), part.images)
        return devices.own((logs, apply(state, gradients)))

    return step


def _test_step(model: keras.Model, devices: _Devices) -> Callable[[Any, Any, Part], Any]:
    update_metrics = stateless_metrics_update(model)

    def judge(state: Any, data: Any, images: Any) -> Any:
        trained, others, metrics = state
        whole = partial(devices.whole, images=images)
        x, y, weights = data[0], *map(whole, data[1:])
        _, (loss, predicted, others, metrics) = _loss(
            model, False, trained, others, metrics, None, (x, y, weights), whole
        )
        logs, metrics = update_metrics(metrics, loss, y, y, predicted, weights)
        return logs, (trained, others, metrics)

    if model.jit_compile:
        judge = jax.jit(judge, donate_argnums=0, out_shardings=devices.everywhere)

    def step(state: Any, batch: Any, part: Part) -> Any:
        data = devices.divide(keras.utils.unpack_x_y_sample_weight(batch), part)
        return devices.own(judge(devices.same(state), data, part.images))

    return step
