"""Each layer group has its own multiple of the learning rate, with stock and native updates."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.config.schema import Phase
from keras_transfer.engine.native import install
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.groups import layer_groups
from keras_transfer.training.accumulate import Accumulate
from keras_transfer.training.group_rates import group_factors, variable_factors
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.setup import TrainingSettings

pytestmark = pytest.mark.backend


def steps_of(decay: float, parts: bool = False, **phase) -> tuple[keras.Model, list[np.ndarray]]:
    """Return a small model, and the change of each trainable weight in one step."""
    keras.utils.set_random_seed(3)
    model = build_classifier("tiny", 3, image_size=(32, 32), weights="none", dropout=0.0, seed=3)
    install(model)
    compile_phase(model, Phase("all", learning_rate=0.01, **phase), 4, TrainingSettings("tiny", ()),
                  factors=variable_factors(model, "tiny", decay))  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (8, 32, 32, 3)).astype("uint8"), np.eye(3, dtype="float32")[np.arange(8) % 3]
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.fit(x, y, batch_size=8, verbose=0, shuffle=False, callbacks=[Accumulate(4)] if parts else [])
    return model, [keras.ops.convert_to_numpy(v) - old for v, old in zip(model.trainable_variables, before)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.5}, marks=pytest.mark.slow),
        pytest.param(
            {"optimizer": "sgd", "schedule": "cosine", "clip_norm": 0.1, "parts": True}, marks=pytest.mark.slow
        ),
        pytest.param({"optimizer": "adam", "schedule": "plateau"}, marks=pytest.mark.slow),
        {"optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.5},
    ],
    ids=lambda options: options["optimizer"] + "-" + options["schedule"],
)
def test_every_group_has_its_multiple(options):
    _, whole = steps_of(1.0, **options)
    model, scaled = steps_of(0.5, **options)
    factors = group_factors(model, "tiny", 0.5)
    assert list(factors.values())[-2:] == [0.25, 0.5]
    by_variable = {
        v.path: factors[name] for name, layers in layer_groups(model, "tiny") for la in layers for v in la.variables
    }
    seen = set()
    for variable, one, other in zip(model.trainable_variables, whole, scaled, strict=True):
        factor = by_variable.get(variable.path, 1.0)
        seen.add(factor)
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(other, factor * one, rtol=2e-3, atol=1e-7, err_msg=variable.path)
    assert seen == {*factors.values(), 1.0}
