"""Training steps of several processes on torch: each computes its share of a batch, and the sums are those of the whole batch.

``model.fit`` runs in every process, on its own share (:class:`~keras_transfer.distribute.shard.Shard`). The gradients of all
processes are added by ``DistributedDataParallel``, in buckets and while the backward pass still runs; its wrapper is made anew for
every ``fit``, because what trains differs from phase to phase. Losses and metrics are added as well, so that logs and callbacks
see those of the whole batch, and decide the same everywhere.

A loss is weighted by the share's part of the images, not by one over the number of processes: what comes out is the mean over the
batch however it divides. Statistics of a BatchNormalization that trains are those of each share (*local*); their moving means are
averaged over the processes after every step. Dropout draws for the whole batch, and takes the rows of the share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.distribute import Group
from keras_transfer.keras_compat import loss_tracker
from keras_transfer.models.graph import flat_layers
from keras_transfer.training.accumulate import parts_of
from keras_transfer.training.dropout_masks import replace_dropout, restore_dropout
from keras_transfer.training.stopping import StopRequest


class DataParallel(keras.callbacks.Callback):
    """Replace the steps of a ``fit`` by those of a group of processes. Must be the first callback.

    Args:
        group: of this process.
        train: its training batches.
        val: its validation batches; None: there are none.
        size: most images that are computed at once, in all processes together.
        stop: a request to stop in one process becomes one in all, after the same step.
    """

    def __init__(self, group: Group, train: Batches, val: Batches | None, size: int, stop: StopRequest):
        super().__init__()
        self.group, self.train, self.val, self.stop = group, train, val, stop
        self.size = -(-size // group.size)
        self.images, self.rows = 0, slice(0)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Replace the functions that Keras has just made, or would make."""
        self.model.train_function, self.model.test_function = self._train_step(), self._test_step()
        replace_dropout(self.model, lambda: self.images, lambda factors, count: factors[self.rows])

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

    def _train_step(self) -> Callable[[Any], Any]:
        model = self.model
        parallel = DistributedDataParallel(_Forward(model), gradient_as_bucket_view=True)
        norms = [variable for layer in _norms(model) for variable in (layer.moving_mean, layer.moving_variance)]

        def step(batches: Any) -> Any:
            model.zero_grad()
            counted, parts = self._counted(), list(parts_of(batches[0], self.size))
            exchange = _Exchange(model.metrics_variables, norms, counted / self.images)
            first = self.group.shard.rows(self.images).start
            for number, (share, (x, y, weights)) in enumerate(parts, 1):
                self.rows, last = slice(first, first := first + len(x)), number == len(parts)
                with contextlib.nullcontext() if last else parallel.no_sync():
                    predicted = parallel(x)
                    loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=True)
                    if counted:
                        _count(model, loss, x, y, predicted, weights)
                    if last:
                        exchange.send(self.stop.wanted)
                    # The wrapper takes the mean over the processes.
                    factor = share * counted / self.images * self.group.size
                    model.optimizer.scale_loss(loss * factor).backward()
            trained = model.trainable_weights[:]
            with torch.no_grad():
                model.optimizer.apply([variable.value.grad for variable in trained], trained)
            self.stop.asked |= exchange.receive()
            return model.get_metrics_result()

        return step

    def _test_step(self) -> Callable[[Any], Any]:
        model = self.model

        @torch.no_grad()
        def step(batches: Any) -> Any:
            exchange = _Exchange(model.metrics_variables, [], 1.0)
            x, y, weights = keras.utils.unpack_x_y_sample_weight(batches[0])
            if self._counted():
                predicted = model(x, training=False)
                loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=False)
                _count(model, loss, x, y, predicted, weights)
            exchange.send(False)
            exchange.receive()
            return model.get_metrics_result()

        return step

    def _counted(self) -> int:
        """Return how many images of this process count: none if the batch has fewer images than there are processes."""
        start, end = self.group.shard.bounds(self.images)
        return end - start


class _Forward(torch.nn.Module):
    """The forward pass of a training step."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(x, training=True)


@dataclass
class _Exchange:
    """What a step adds up besides gradients, in one message: what the metrics have counted, and statistics.

    Attributes:
        metrics: variables of the metrics; they grow by what all processes count.
        statistics: variables of which the weighted mean is taken.
        weight: of this process in that mean.
    """

    metrics: list[Any]
    statistics: list[Any]
    weight: float

    def __post_init__(self) -> None:
        self._before = [variable.value.detach().clone() for variable in self.metrics]

    @torch.no_grad()
    def send(self, stop: bool) -> None:
        """Start the message, after the forward pass."""
        grown = [variable.value - before for variable, before in zip(self.metrics, self._before)]
        means = [variable.value * self.weight for variable in self.statistics]
        self._shapes = [value.shape for value in (*grown, *means)]
        device = grown[0].device
        flat = [
            torch.full((1,), float(stop), device=device),
            *(value.reshape(-1).float() for value in (*grown, *means)),
        ]
        self._message = torch.cat(flat)
        self._work = dist.all_reduce(self._message, async_op=True)

    @torch.no_grad()
    def receive(self) -> bool:
        """Assign the sums, and return whether any process wants to stop."""
        self._work.wait()
        found = torch.split(self._message[1:], [shape.numel() for shape in self._shapes])
        for variable, before, value in zip(self.metrics, self._before, found):
            variable.assign((before + value.reshape(before.shape)).to(before.dtype))
        for variable, value in zip(self.statistics, found[len(self.metrics) :]):
            variable.assign(value.reshape(variable.shape))
        return bool(self._message[0] > 0)


def _count(model: keras.Model, loss: Any, x: Any, y: Any, predicted: Any, weights: Any) -> None:
    """Add a share to loss and metrics."""
    loss_tracker(model).update_state(loss, sample_weight=len(x))
    model.compute_metrics(x, y, predicted, sample_weight=weights)


def _norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    """Yield the BatchNormalization layers that train."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            yield layer
