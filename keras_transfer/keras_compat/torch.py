"""Private names of Keras's torch backend. Importing this module imports Keras and torch.

What is used in every training step is bound here once: an alias or an ``attrgetter`` costs no Python call.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import keras
from keras.src.backend.common import masking, stateless_scope
from keras.src.backend.torch import core
from keras.src.backend.torch.optimizers import torch_adam, torch_adamw, torch_sgd
from keras.src.models import functional

Functional = functional.Functional
"""Class of functional models; ``keras.Model(inputs, outputs)`` makes one."""

ADAMS = (torch_adam.Adam, torch_adamw.AdamW)
"""Classes behind ``keras.optimizers.Adam`` and ``AdamW`` on torch."""

SGD = torch_sgd.SGD
"""Class behind ``keras.optimizers.SGD`` on torch."""

PARALLEL_UPDATE = "_parallel_update_step"
"""Method (grads, variables, learning rate) in which Adam, AdamW and SGD update all variables on torch."""

raw_value = attrgetter("_value")
"""Variable → its tensor, without the checks and casts of ``variable.value``."""

autocasts = attrgetter("_autocast")
"""Variable → whether layers may cast it to their compute dtype."""

base_kernel = attrgetter("_kernel")
"""Convolution → its kernel variable; ``layer.kernel`` adds LoRA adapters."""

get_mask = masking.get_keras_mask
"""Tensor → the mask that a layer attached to it, or ``None``."""

in_stateless_scope = stateless_scope.in_stateless_scope
"""() → whether a caller currently substitutes the values of variables (``keras.StatelessScope``)."""

get_device = core.get_device
"""() → the device for new tensors; ``"meta"`` while Keras infers shapes."""

to_torch_dtype = core.to_torch_dtype
"""Name of a dtype → ``torch.dtype``."""


def adam_slots(optimizer: Any, variables: list[keras.Variable]) -> tuple[list[keras.Variable], ...]:
    """Return first moments, second moments and (``amsgrad`` only, else empty) largest second moments of ``variables``."""
    index = [optimizer._get_variable_index(variable) for variable in variables]
    slots = (optimizer._momentums, optimizer._velocities, optimizer._velocity_hats if optimizer.amsgrad else None)
    return tuple([] if slot is None else [slot[i] for i in index] for slot in slots)


def momentum_slots(optimizer: Any, variables: list[keras.Variable]) -> list[keras.Variable]:
    """Return the momentum buffers of SGD for ``variables``; its momentum is not 0."""
    return [optimizer.momentums[optimizer._get_variable_index(variable)] for variable in variables]


def decayed(optimizer: Any, variables: list[keras.Variable]) -> list[keras.Variable]:
    """Return those of ``variables`` that an optimizer's weight decay is for."""
    return [variable for variable in variables if optimizer._use_weight_decay(variable)]
