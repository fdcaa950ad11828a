"""Adam, AdamW and SGD with momentum in one pass over memory, where stock Keras on torch makes about twelve or five.

Weight decay, which for large layers costs as much as the update, is a second pass instead of four.
"""

from __future__ import annotations

from typing import Any

import keras
import torch

from keras_transfer.engine.torch_native.layout import is_settled, settle_slots
from keras_transfer.keras_compat import APPLY_DECAY, replace_method, replaced_method, restore_method
from keras_transfer.keras_compat.torch import ADAMS, PARALLEL_UPDATE, SGD, adam_slots, decayed, momentum_slots


class FusedAdam:
    """Replaces the update step of one Keras Adam or AdamW optimizer, on the CPU.

    Only the arithmetic of the update is replaced: slots, iteration count, learning rate (schedules included), clipping,
    weight decay and its exclusions stay Keras's. Keras adds epsilon to the square root of the *uncorrected* second moment,
    torch to that of the corrected one, so epsilon is rescaled.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        """Keep the optimizer and its stock update."""
        self.optimizer = optimizer
        self.stock = getattr(type(optimizer), PARALLEL_UPDATE).__get__(optimizer)

    def __call__(self, grads: list[torch.Tensor], variables: list[keras.Variable], learning_rate: Any) -> None:
        """Update ``variables`` from ``grads``."""
        optimizer = self.optimizer
        slots = adam_slots(optimizer, variables)
        parameters, first, second, largest = ([v.value for v in group] for group in (variables, *slots))
        if not all(map(_fits, parameters, grads, first, second)):
            self.stock(grads, variables, learning_rate)
            return
        grads = _laid_out(grads, parameters)
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


class FusedSGD:
    """Replaces the update step of one Keras SGD optimizer with momentum, plain or Nesterov's, on the CPU.

    Keras's momentum buffer holds steps, -rate · gradient summed up, torch's holds gradients; they differ where the rate changes. So
    the kernel gets gradients times the rate, their sign turned (``maximize``), and a rate of -1.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        """Keep the optimizer and its stock update."""
        self.optimizer = optimizer
        self.stock = getattr(type(optimizer), PARALLEL_UPDATE).__get__(optimizer)

    def __call__(self, grads: list[torch.Tensor], variables: list[keras.Variable], learning_rate: Any) -> None:
        """Update ``variables`` from ``grads``."""
        optimizer, rate = self.optimizer, float(learning_rate)
        if not rate or not optimizer.momentum:  # nothing to scale by; or a single pass already
            self.stock(grads, variables, learning_rate)
            return
        parameters = [v.value for v in variables]
        momentums = [slot.value for slot in momentum_slots(optimizer, variables)]
        if not all(map(_fits, parameters, grads, momentums)):
            self.stock(grads, variables, learning_rate)
            return
        torch._fused_sgd_(
            _flat(parameters),
            _flat(_laid_out(grads, parameters)),
            _flat(momentums),
            weight_decay=0.0,
            momentum=optimizer.momentum,
            lr=-1.0,
            dampening=0.0,
            nesterov=optimizer.nesterov,
            maximize=True,
            is_first_step=False,
            grad_scale=torch.tensor(1.0 / rate),  # the kernel divides by it
        )


class FusedDecay:
    """Replaces the weight decay of one optimizer: weights are multiplied in place."""

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        """Keep the optimizer."""
        self.optimizer = optimizer

    @torch.no_grad()
    def __call__(self, variables: list[keras.Variable]) -> None:
        """Shrink the weights that the optimizer does not exclude."""
        optimizer = self.optimizer
        chosen = [variable.value for variable in decayed(optimizer, variables)] if optimizer.weight_decay else []
        if chosen:
            torch._foreach_mul_(chosen, 1.0 - float(optimizer.learning_rate) * float(optimizer.weight_decay))


def _laid_out(grads: list[torch.Tensor], parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return gradients in the memory layout of their parameters; the updates ignore the axes."""
    return [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for g, p in zip(grads, parameters)]


def _flat(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """View dense tensors as vectors in memory order; torch would copy those with permuted axes."""
    return [tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors]


def _fits(*tensors: torch.Tensor) -> bool:
    """Return whether the fused kernel applies: on the CPU, one dtype, float32 or float64, one memory layout."""
    parameter, _, *slots = tensors
    if not all(t.device.type == "cpu" and t.dtype == parameter.dtype for t in tensors):
        return False
    wide = parameter.dtype in (torch.float32, torch.float64)
    dense = parameter.is_contiguous() or (parameter.ndim == 4 and is_settled(parameter))
    return wide and dense and all(parameter.stride() == slot.stride() for slot in slots)


def _update_of(optimizer: object) -> type[FusedAdam | FusedSGD] | None:
    """Return what replaces the update of an optimizer, or ``None``."""
    if type(optimizer) in ADAMS:
        return FusedAdam
    return FusedSGD if type(optimizer) is SGD else None


def install_optimizer(optimizer: object) -> bool:
    """Give an Adam, AdamW or SGD optimizer the fused update; return whether it has it now.

    A decay that somebody else has replaced (a rate for each layer group) is left alone.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # a LossScaleOptimizer wraps the one that updates
    fused = _update_of(optimizer)
    if fused is None:
        return False
    if not isinstance(replaced_method(optimizer, PARALLEL_UPDATE), fused):
        replace_method(optimizer, PARALLEL_UPDATE, fused(optimizer))  # type: ignore[arg-type]
    if replaced_method(optimizer, APPLY_DECAY) is None:
        replace_method(optimizer, APPLY_DECAY, FusedDecay(optimizer))  # type: ignore[arg-type]
    return True


def remove_optimizer(optimizer: object) -> None:
    """Give the optimizer its stock update back."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    for name, kinds in ((PARALLEL_UPDATE, (FusedAdam, FusedSGD)), (APPLY_DECAY, (FusedDecay,))):
        if isinstance(replaced_method(optimizer, name), kinds):
            restore_method(optimizer, name)


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
