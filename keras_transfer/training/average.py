"""Weight averaging over a phase: the averages are validated and saved; training continues with the plain weights.

- ``ema``: exponential moving average over the steps (Polyak & Juditsky 1992). The momentum at step n is at most
  (1 + n) / (10 + n), so that the initial weights do not dominate a phase of few steps.
- ``swa``: mean over the epoch ends (stochastic weight averaging, Izmailov et al. 2018,
  https://arxiv.org/abs/1803.05407).

The statistics of a trainable BatchNormalization do not belong to the averaged weights. For ``ema``, whose averages
are close to the weights, they are averaged too. For ``swa`` they are recomputed by a pass over the training images,
as in the paper.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.distribute import ALONE, Group
from keras_transfer.keras_compat import jax_training_state, model_of
from keras_transfer.models.graph import flat_layers
from keras_transfer.training.state import TrainingState, assign, check_shapes, values


class AverageWeights(keras.callbacks.Callback):
    """Average the weights of a ``fit``, and swap the averages in from the start of validation to the end of the epoch.

    Must come after all callbacks that read the averages in ``on_epoch_end``, and before the one that saves the state.

    Args:
        kind: ``"ema"`` or ``"swa"``.
        momentum: of ``ema``, 0 ≤ momentum < 1.
        train: training batches.
        micro_batch_size: maximum images computed at once.
        resumed: a state to restore the averages from, if it has averages of this kind.
        group: the processes that train together.
    """

    def __init__(
        self,
        kind: str,
        momentum: float,
        train: Batches,
        micro_batch_size: int,
        resumed: TrainingState | None = None,
        group: Group = ALONE,
    ):
        super().__init__()
        self.kind, self.momentum, self.train, self.micro_batch_size = kind, momentum, train, micro_batch_size
        self.count, self.group = 0, group
        self._averages: list[Any] | None = None
        self._weights: list[Any] | None = None  # the training weights while the averages are swapped in
        self._epoch = 0
        memory = resumed.average if resumed is not None else {}
        self._resumed = resumed if memory.get("kind") == kind and memory["count"] else None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start from the current weights, or restore the averages of a state."""
        if self._averages is not None:  # a second fit of the same phase
            return
        self._variables = averaged_variables(self.model)
        self._mix = _mix()
        if self._resumed is not None:
            check_shapes(self._variables, self._resumed.averages)
            before = self._exchange(self._resumed.averages)
            self._averages, self.count = self._exchange(before), self._resumed.average["count"]
            self._resumed = None
        elif self.kind == "ema":
            self._averages = self._copies()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember the epoch of the training batches."""
        self._epoch = self.train.epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Include the weights after a step."""
        if self.kind == "ema":
            self.count += 1
            self._add(1.0 - min(self.momentum, (1 + self.count) / (10 + self.count)))

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Swap the averages in."""
        if self.kind == "swa":
            self.count += 1
            self._add(1.0 / self.count)
        assert self._averages is not None
        self._weights = self._exchange(self._averages)
        if self.kind == "swa":
            measure_statistics(self.model, self.train, self._epoch, self.micro_batch_size, self.group)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Swap the training weights back in."""
        assert self._weights is not None
        self._exchange(self._weights)
        self._weights = None

    def fill(self, state: TrainingState) -> None:
        """Store the averages in a state."""
        state.average = {"kind": self.kind, "count": self.count}
        state.averages = [np.array(keras.ops.convert_to_numpy(average)) for average in self._averages or []]

    def _add(self, share: float) -> None:
        if self._averages is None:
            self._averages = self._copies()
        else:
            self._averages = self._mix(self._averages, _values_now(model_of(self), self._variables), share)

    def _copies(self) -> list[Any]:
        values_now = _values_now(model_of(self), self._variables)
        return [keras.ops.copy(keras.ops.stop_gradient(value)) for value in values_now]

    def _exchange(self, new: list[Any]) -> list[Any]:
        """Assign values to the variables; return copies of the old ones with their memory layout."""
        old = self._copies()
        for variable, value in zip(self._variables, new):
            variable.assign(keras.ops.copy(value))  # jax may donate the memory of a variable's array
        return old


def averaged_variables(model: keras.Model) -> list[Any]:
    """Return trainable variables, then the statistics of trainable BatchNormalization layers."""
    return [*model.trainable_variables, *(v for layer in _norms(model) for v in _statistics(layer))]


def measure_statistics(
    model: keras.Model, train: Batches, epoch: int, micro_batch_size: int, group: Group = ALONE
) -> None:
    """Set the statistics of trainable BatchNormalization layers to their means over the batches of an epoch.

    Args:
        model: runs in training mode; nothing else of it changes.
        train: training batches.
        epoch: epoch of the batches.
        micro_batch_size: maximum images computed at once; larger batches are split.
        group: the processes that train together: each takes its share of the batches.
    """
    norms = _norms(model)
    if not norms:
        return
    statistics = [variable for layer in norms for variable in _statistics(layer)]
    sums, count = [np.zeros(variable.shape, np.float64) for variable in statistics], 0
    with _no_momentum(norms), _restored(model, train), _no_gradients():
        train.set_epoch(epoch)
        for number in range(len(train.loader)):
            images = train.batch(number)[0]
            for start in range(0, len(images), micro_batch_size):
                part = images[start : start + micro_batch_size]
                model(part, training=True)
                for total, value in zip(sums, values(statistics)):
                    total += len(part) * value.astype(np.float64)
                count += len(part)
    *sums, counted = group.sum([*sums, np.array([count], np.float64)])
    assign(statistics, [(total / counted[0]).astype(np.float32) for total in sums])


def _values_now(model: keras.Model, variables: list[Any]) -> list[Any]:
    """Return the backend's arrays; on jax, during an epoch, they are in the state of ``fit``.

    ``callback.model`` would copy all arrays, the optimizer's too, back to variables, which can take as long as a
    small step.
    """
    state = jax_training_state(model)
    if state is None:
        return [variable.value for variable in variables]
    kinds = ("trainable_variables", "non_trainable_variables")
    found = {id(variable): value for kind in kinds for variable, value in zip(getattr(model, kind), state[kind])}
    return [found[id(variable)] for variable in variables]


def _norms(model: keras.Model) -> list[keras.layers.Layer]:
    layers = flat_layers(model)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]


def _statistics(layer: keras.layers.Layer) -> list[Any]:
    return [layer.moving_mean, layer.moving_variance]


@contextlib.contextmanager
def _no_momentum(norms: list[keras.layers.Layer]) -> Iterator[None]:
    """Make each batch overwrite the statistics of the layers."""
    before = [layer.momentum for layer in norms]
    try:
        for layer in norms:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(norms, before):
            layer.momentum = momentum


@contextlib.contextmanager
def _restored(model: keras.Model, train: Batches) -> Iterator[None]:
    """Restore the random state of dropout, and the epoch and wait time of the training batches."""
    weights = {id(variable) for variable in model.weights}
    random = [variable for variable in model.variables if id(variable) not in weights]
    before, epoch, waited = values(random), train.epoch, train.loader.waited
    try:
        yield
    finally:
        assign(random, before)
        train.set_epoch(epoch)
        train.loader.waited = waited


def _no_gradients() -> contextlib.AbstractContextManager[None]:
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


@functools.cache
def _mix() -> Callable[[list[Any], list[Any], float], list[Any]]:
    """Return a function that interpolates from averages towards new values, in one call of the framework."""

    def mix(averages: list[Any], new: list[Any], share: Any) -> list[Any]:
        return [average + share * (value - average) for average, value in zip(averages, new)]

    if keras.backend.backend() == "torch":
        import torch

        def lerp(averages: list[Any], new: list[Any], share: float) -> list[Any]:
            with torch.no_grad():
                torch._foreach_lerp_(averages, new, share)
            return averages

        return lerp
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(mix, donate_argnums=0)
    import tensorflow as tf

    compiled = tf.function(mix)
    return lambda averages, new, share: compiled(averages, [tf.convert_to_tensor(v) for v in new], tf.constant(share))
