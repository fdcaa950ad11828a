"""What several tests of the models share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def shake():
    """Give every variable, BatchNorm statistics and layer scales too, a random value that keeps the scale."""

    def apply(model, seed: int = 0) -> None:
        from keras_transfer.models.graph import flat_layers

        rng = np.random.default_rng(seed)
        for layer in flat_layers(model):
            noise = [rng.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()]
            layer.set_weights([n * (v if np.abs(v).max() > 1e-3 else 0.3) for n, v in zip(noise, layer.get_weights())])

    return apply
