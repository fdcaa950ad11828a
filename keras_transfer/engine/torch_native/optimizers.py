"""Adam and AdamW as one pass over memory: stock Keras on torch makes about twelve."""

from __future__ import annotations

from typing import Any

import keras
import torch
from keras.src.backend.torch.optimizers.torch_adam import Adam as TorchAdam
from keras.src.backend.torch.optimizers.torch_adamw import AdamW as TorchAdamW

from keras_transfer.engine.torch_native.layout import is_settled, settle_slots


class FusedAdam:
    """Stands in for the update step of one Keras Adam or AdamW optimizer, on the CPU.

    The slots, the iteration count, the learning rate (a schedule included), clipping, weight decay and its
    exclusions stay Keras's: only the arithmetic of the update is replaced. Keras adds epsilon to the square
    root of the *uncorrected* second moment, torch to that of the corrected one, so epsilon is rescaled.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        """Keep the optimizer and its stock update."""
        self.optimizer = optimizer
        self.stock = type(optimizer)._parallel_update_step.__get__(optimizer)

    def __call__(self, grads: list[torch.Tensor], variables: list[keras.Variable], learning_rate: Any) -> None:
        """Update ``variables`` from ``grads``."""
        optimizer = self.optimizer
        index = [optimizer._get_variable_index(v) for v in variables]
        parameters = [v.value for v in variables]
        first = [optimizer._momentums[i].value for i in index]
        second = [optimizer._velocities[i].value for i in index]
        largest = [optimizer._velocity_hats[i].value for i in index] if optimizer.amsgrad else []
        if not all(map(_fits, parameters, grads, first, second)):
            self.stock(grads, variables, learning_rate)
            return
        # The update goes through memory, whatever the axes: all four lie alike.
        grads = [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for g, p in zip(grads, parameters)]
        step = float(optimizer.iterations) + 1.0
        torch._fused_adam_(
            _flat(parameters),
            _flat(grads),
            _flat(first),
            _flat(second),
            _flat(largest),
            [torch.tensor(step)] * len(parameters),
            lr=float(learning_rate),
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            weight_decay=0.0,
            eps=optimizer.epsilon / (1.0 - optimizer.beta_2**step) ** 0.5,
            amsgrad=optimizer.amsgrad,
            maximize=False,
        )


def _flat(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the numbers of dense tensors in the order of memory; torch would copy those whose axes are permuted."""
    return [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]


def _fits(*tensors: torch.Tensor) -> bool:
    """Whether the fused kernel takes these: on the CPU, one floating dtype, parameter and slots alike in memory."""
    parameter, _, first, second = tensors
    if not all(t.device.type == "cpu" and t.dtype == parameter.dtype for t in tensors):
        return False
    wide = parameter.dtype in (torch.float32, torch.float64)
    dense = parameter.is_contiguous() or (parameter.ndim == 4 and is_settled(parameter))
    return wide and dense and parameter.stride() == first.stride() == second.stride()


def install_optimizer(optimizer: object) -> bool:
    """Give a Keras Adam or AdamW the fused update; return whether it has it now."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # loss scaling wraps the one that updates
    if type(optimizer) not in (TorchAdam, TorchAdamW):
        return False
    if not isinstance(optimizer.__dict__.get("_parallel_update_step"), FusedAdam):
        optimizer.__dict__["_parallel_update_step"] = FusedAdam(optimizer)
    return True


def remove_optimizer(optimizer: object) -> None:
    """Give the optimizer its stock update back."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(getattr(optimizer, "__dict__", {}).get("_parallel_update_step"), FusedAdam):
        del optimizer.__dict__["_parallel_update_step"]


class MakeTrainFunction:
    """Stands in for ``model.make_train_function``, which Keras calls before it trains: finds later optimizers."""

    def __init__(self, model: keras.Model):
        """Keep the model and its stock method."""
        self.model = model
        self.stock = type(model).make_train_function.__get__(model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Fuse the optimizer that the model was last compiled with, then go on as Keras does."""
        optimizer = self.model.optimizer
        install_optimizer(optimizer)
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        settle_slots(getattr(optimizer, "inner_optimizer", optimizer))
        return self.stock(*args, **kwargs)


def install_trainer(model: keras.Model) -> None:
    """Fuse the optimizer of ``model``, now or whenever it is compiled."""
    install_optimizer(getattr(model, "optimizer", None))
    if "make_train_function" not in model.__dict__:
        model.__dict__["make_train_function"] = MakeTrainFunction(model)


def remove_trainer(model: keras.Model) -> None:
    """Undo ``install_trainer``."""
    remove_optimizer(getattr(model, "optimizer", None))
    if isinstance(model.__dict__.get("make_train_function"), MakeTrainFunction):
        del model.__dict__["make_train_function"]
