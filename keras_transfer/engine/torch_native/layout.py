"""Kernels kept in the memory that the convolution wants, behind the shape that Keras gives them.

Keras stores a kernel as (height, width, in, out), torch's convolution wants (out, in, height, width) in channels-last memory. Converted
in every step, and its gradient converted back, that is two copies of all weights a step. A tensor's strides can be chosen: here
the numbers lie as the convolution wants them, and Keras sees them through a permutation, which costs nothing. Gradients come out in the same
memory, and the optimizer's slots are brought into it too, so that an update is one even pass.
"""

from __future__ import annotations

import keras
import torch


def as_convolution_wants(kernel: torch.Tensor) -> torch.Tensor:
    """Return a kernel (height, width, in, out) of the same values, in the memory of channels-last (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)


def is_settled(kernel: torch.Tensor) -> bool:
    """Whether `to_oihw` of it would be no copy."""
    return kernel.permute(3, 2, 0, 1).is_contiguous(memory_format=torch.channels_last)


def settle(kernel: keras.Variable) -> None:
    """Move a kernel's numbers in memory; what Keras assigns to it later keeps to that."""
    value = kernel._value
    if not is_settled(value):
        value.data = as_convolution_wants(value.data)


def settle_slots(optimizer: keras.optimizers.Optimizer) -> None:
    """Bring the optimizer's slots (momentum and the like), if it has them yet, into the memory of what they belong to."""
    variables = getattr(optimizer, "_trainable_variables", [])
    for slots in vars(optimizer).values():
        if not isinstance(slots, list) or len(slots) != len(variables) or slots is variables:
            continue
        for slot, variable in zip(slots, variables):
            if isinstance(slot, keras.Variable) and slot.shape == variable.shape:
                value, like = slot._value, variable._value
                if value.stride() != like.stride():
                    value.data = torch.empty_like(like, dtype=value.dtype).copy_(value)
