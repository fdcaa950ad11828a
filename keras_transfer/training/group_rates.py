"""Smaller learning rates for earlier layer groups (discriminative fine-tuning, Howard & Ruder 2018, section 3.1).

The Keras optimizer is kept: its update is called once per rate, with the variables of that rate. So every optimizer,
schedule and native update works unchanged; clipping, which needs all gradients together, comes before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_transfer.keras_compat import APPLY_DECAY, UPDATE_STEP, replace_method
from keras_transfer.models.groups import layer_groups


def group_factors(model: keras.Model, backbone: str, decay: float) -> dict[str, float]:
    """Return the learning rate factor of each layer group.

    Args:
        model: a classifier.
        backbone: name of its backbone.
        decay: factor between consecutive groups: the head has 1, the last group ``decay``, the one before
            ``decay**2``, …

    Returns:
        Layer group name → factor, from input to output, without the head.
    """
    groups = [name for name, _ in layer_groups(model, backbone)]
    return {name: decay ** (len(groups) - number) for number, name in enumerate(groups)}


def variable_factors(model: keras.Model, backbone: str, decay: float) -> dict[int, float]:
    """Return ``id(variable)`` → factor for the backbone's variables; empty without decay."""
    if decay == 1:
        return {}
    factors = group_factors(model, backbone, decay)
    groups = layer_groups(model, backbone)
    return {id(v): factors[name] for name, layers in groups for layer in layers for v in layer.variables}


def scale_updates(optimizer: Any, factors: Mapping[int, float]) -> None:
    """Make ``optimizer`` scale the learning rate and weight decay of each variable.

    Args:
        optimizer: a Keras optimizer, or a ``LossScaleOptimizer`` around one.
        factors: ``id(variable)`` → factor; 1 for missing ones.
    """
    if not factors:
        return
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    update, decay = getattr(optimizer, UPDATE_STEP), getattr(optimizer, APPLY_DECAY)

    def by_factor(variables: Any, act: Callable[[list[int], float], None]) -> None:
        found = [factors.get(id(variable), 1.0) for variable in variables]
        for factor in sorted(set(found)):
            act([i for i, own in enumerate(found) if own == factor], factor)

    def scaled_update(grads: Any, variables: Any, learning_rate: Any) -> None:
        by_factor(
            variables,
            lambda chosen, factor: update(
                [grads[i] for i in chosen], [variables[i] for i in chosen], learning_rate * factor
            ),
        )

    def scaled_decay(variables: Any) -> None:
        def act(chosen: list[int], factor: float) -> None:  # Keras subtracts weight · decay · rate
            optimizer.weight_decay = whole * factor
            decay([variables[i] for i in chosen])

        whole = optimizer.weight_decay
        if whole is None:
            return
        try:
            by_factor(variables, act)
        finally:
            optimizer.weight_decay = whole

    replace_method(optimizer, UPDATE_STEP, scaled_update)
    replace_method(optimizer, APPLY_DECAY, scaled_decay)
