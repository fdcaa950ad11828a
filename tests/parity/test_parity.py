"""The parity check passes if backends agree and fails if they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_transfer.parity import command, compare_backends
from keras_transfer.runtime import installed_backends

SMALL = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "data.limit=100",
         "phases=[{name: head, epochs: 1}]", "data.augment=[]"]  # fmt: skip


def arrays(**changes):
    rng = np.random.default_rng(0)
    base = {
        "logits": rng.normal(size=(4, 3)),
        "gradient_0": rng.normal(size=(5,)),
        "gradient_1": rng.normal(size=(5,)) * 1e-9,
        "statistic_0": rng.normal(size=(5,)),
        "losses": np.linspace(2, 1, 20),
    }
    return {**base, **changes}


def test_equal_arrays_have_zero_difference():
    pair = command._pair("a", "b", arrays(), arrays())
    assert [pair[name] for name in command.LIMITS if name in pair] == [0.0] * 5


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("logits", "logits_absolute"),
        ("gradient_0", "gradients_relative"),
        ("statistic_0", "statistics_relative"),
        ("losses", "losses_absolute"),
    ],
)
def test_each_array_is_compared(name, measure):
    pair = command._pair("a", "b", arrays(), arrays(**{name: arrays()[name] + 0.01}))
    assert pair[measure] > command.LIMITS[measure]
    broken = command._pair("a", "b", arrays(), arrays(**{name: arrays()[name] * np.nan}))
    assert broken[measure] > command.LIMITS[measure]


def test_a_gradient_of_rounding_noise_is_ignored():
    noise = arrays(gradient_1=np.ones(5) * 1e-9)
    assert command._pair("a", "b", arrays(), noise)["gradients_relative"] == 0.0


@pytest.mark.no_cover  # ten processes, which would take twice as long
@pytest.mark.skipif(len(installed_backends()) < 2, reason="needs two backends")
def test_the_installed_backends_agree(tmp_path, capsys):
    report = compare_backends("quickstart", [], SMALL, steps=16, json_file=str(tmp_path / "parity.json"))
    assert report["agree"], report["worst"]
    assert json.loads((tmp_path / "parity.json").read_text())["backends"] == installed_backends()
    assert set(report["exchange"]) == set(installed_backends())
    # Eight batches, twice.
    assert all(sum(losses[8:]) < sum(losses[:8]) for losses in report["losses"].values())
    assert "the backends agree" in capsys.readouterr().out


def test_the_gradients_are_computed_in_float64():
    import keras

    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.parity.float64 import float64_copy

    model = build_classifier("tiny", 3, image_size=32, weights="none")
    if keras.backend.backend() == "jax":
        pytest.skip("needs a process started in float64")
    try:
        copy = float64_copy(model)
        images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
        features = keras.Model(copy.inputs, copy.get_layer("pool").input)
        features.dtype_policy = copy.dtype_policy  # else it would hand float32 to the layers
        found = keras.ops.convert_to_numpy(features(images, training=False))
        assert {str(variable.dtype) for variable in copy.trainable_variables} == {"float64"}
        assert found.dtype == np.float64 and (found.astype(np.float32) != found)[found != 0].mean() > 0.99
        logits = [keras.ops.convert_to_numpy(each(images, training=False)) for each in (model, copy)]
        np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)
    finally:
        keras.config.set_floatx("float32")
