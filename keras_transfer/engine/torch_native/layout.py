"""Store kernels in the memory layout of torch's convolution, under the shape that Keras expects.

Keras's kernel is (height, width, in, out); torch's convolution expects (out, in, height, width) in channels-last memory.
Converting each kernel in every step, and its gradient back, copies all weights twice per step. Instead the values are stored in
the convolution's layout, and Keras sees them through permuted strides, which costs nothing. Gradients get the same layout, and
so do the optimizer's slots, so that an update is one sequential pass over memory.
"""

from __future__ import annotations

import keras
import torch

from keras_transfer.keras_compat import updated_variables
from keras_transfer.keras_compat.torch import raw_value


def as_convolution_wants(kernel: torch.Tensor) -> torch.Tensor:
    """Return a kernel (height, width, in, out) of the same values, stored as channels-last (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last).permute(2, 3, 1, 0)


def is_settled(kernel: torch.Tensor) -> bool:
    """Return whether ``to_oihw`` of a kernel is free of a copy."""
    return kernel.permute(3, 2, 0, 1).is_contiguous(memory_format=torch.channels_last)


def settle(kernel: keras.Variable) -> None:
    """Change the memory layout of a kernel variable; later assignments keep it."""
    value = raw_value(kernel)
    if not is_settled(value):
        value.data = as_convolution_wants(value.data)


def settle_slots(optimizer: keras.optimizers.Optimizer) -> None:
    """Give the optimizer's slots (such as momentum), if it has been built, the memory layout of their variables."""
    variables = updated_variables(optimizer)
    for slots in vars(optimizer).values():
        if not isinstance(slots, list) or len(slots) != len(variables) or slots is variables:
            continue
        for slot, variable in zip(slots, variables):
            if isinstance(slot, keras.Variable) and slot.shape == variable.shape:
                value, like = raw_value(slot), raw_value(variable)
                if value.stride() != like.stride():
                    value.data = torch.empty_like(like, dtype=value.dtype).copy_(value)
