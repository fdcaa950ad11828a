"""Adam and AdamW in one pass over memory, where stock Keras on torch makes about twelve."""

from __future__ import annotations

from typing import Any

import keras
import torch

from keras_transfer.engine.torch_native.layout import is_settled, settle_slots
from keras_transfer.keras_compat import replace_method, replaced_method, restore_method
from keras_transfer.keras_compat.torch import ADAM_UPDATE, FUSABLE_OPTIMIZERS, adam_slots


class FusedAdam:
    """Replaces the update step of one Keras Adam or AdamW optimizer, on the CPU.

    Only the arithmetic of the update is replaced: slots, iteration count, learning rate (schedules included), clipping,
    weight decay and its exclusions stay Keras's. Keras adds epsilon to the square root of the *uncorrected* second moment,
    torch to that of the corrected one, so epsilon is rescaled.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        """Keep the optimizer and its stock update."""
        self.optimizer = optimizer
        self.stock = getattr(type(optimizer), ADAM_UPDATE).__get__(optimizer)

    def __call__(self, grads: list[torch.Tensor], variables: list[keras.Variable], learning_rate: Any) -> None:
        """Update ``variables`` from ``grads``."""
        optimizer = self.optimizer
        slots = adam_slots(optimizer, variables)
        parameters, first, second, largest = ([v.value for v in group] for group in (variables, *slots))
        if not all(map(_fits, parameters, grads, first, second)):
            self.stock(grads, variables, learning_rate)
            return
        # All four get the same memory layout; the update ignores the axes.
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
    """View dense tensors as vectors in memory order; torch would copy those with permuted axes."""
    return [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]


def _fits(*tensors: torch.Tensor) -> bool:
    """Return whether the fused kernel applies: on the CPU, one dtype, float32 or float64, one memory layout."""
    parameter, _, first, second = tensors
    if not all(t.device.type == "cpu" and t.dtype == parameter.dtype for t in tensors):
        return False
    wide = parameter.dtype in (torch.float32, torch.float64)
    dense = parameter.is_contiguous() or (parameter.ndim == 4 and is_settled(parameter))
    return wide and dense and parameter.stride() == first.stride() == second.stride()


def install_optimizer(optimizer: object) -> bool:
    """Give an Adam or AdamW optimizer the fused update; return whether it has it now."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # a LossScaleOptimizer wraps the one that updates
    if type(optimizer) not in FUSABLE_OPTIMIZERS:
        return False
    if not isinstance(replaced_method(optimizer, ADAM_UPDATE), FusedAdam):
        replace_method(optimizer, ADAM_UPDATE, FusedAdam(optimizer))
    return True


def remove_optimizer(optimizer: object) -> None:
    """Give the optimizer its stock update back."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(replaced_method(optimizer, ADAM_UPDATE), FusedAdam):
        restore_method(optimizer, ADAM_UPDATE)


class MakeTrainFunction:
    """Replaces ``model.make_train_function``, which Keras calls before training, to fuse optimizers compiled later."""

    def __init__(self, model: keras.Model):
        """Keep the model and its stock method."""
        self.model = model
        self.stock = type(model).make_train_function.__get__(model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Fuse the current optimizer of the model, then call Keras's method."""
        optimizer = self.model.optimizer
        install_optimizer(optimizer)
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        settle_slots(getattr(optimizer, "inner_optimizer", optimizer))
        return self.stock(*args, **kwargs)


def install_trainer(model: keras.Model) -> None:
    """Fuse the optimizer of ``model``, now or whenever it is compiled."""
    install_optimizer(getattr(model, "optimizer", None))
    if replaced_method(model, "make_train_function") is None:
        replace_method(model, "make_train_function", MakeTrainFunction(model))


def remove_trainer(model: keras.Model) -> None:
    """Undo ``install_trainer``."""
    remove_optimizer(getattr(model, "optimizer", None))
    if isinstance(replaced_method(model, "make_train_function"), MakeTrainFunction):
        restore_method(model, "make_train_function")
