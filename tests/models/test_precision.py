"""Precision at run time: variables and logits stay float32, files are float32."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train
from keras_transfer.models.precision import as_float32, computing_in, full_float32, set_precision

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def model() -> keras.Model:
    return build_classifier("tiny", 4, weights="none")


def dtype_inside(model: keras.Model, name: str) -> str:
    layer = keras.Model(model.input, model.get_layer(name).output)
    return keras.backend.standardize_dtype(layer(PIXELS.astype(np.float32)).dtype)


def test_bfloat16_computes_in_bfloat16_between_float32_ends(model):
    exact = model.predict_on_batch(PIXELS)
    set_precision(model, "bfloat16")
    rough = model.predict_on_batch(PIXELS)
    assert dtype_inside(model, "preprocess") == "float32"
    assert dtype_inside(model, "block2_conv") == "bfloat16"
    assert rough.dtype == np.float32
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.weights} == {"float32"}
    error = np.abs(rough - exact).max()
    assert 1e-6 < error < 0.05 * max(1.0, np.abs(exact).max())


def test_bfloat16_trains_float32_variables(model):
    set_precision(model, "bfloat16")
    apply_train(model, "tiny", "all")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    before = model.get_weights()
    model.fit(PIXELS, np.arange(4), verbose=0)
    assert all(w.dtype == np.float32 for w in model.get_weights())
    assert sum(not np.array_equal(a, b) for a, b in zip(before, model.get_weights())) >= 14


def test_float32_comes_back_exactly(model):
    exact = model.predict_on_batch(PIXELS)
    set_precision(model, "bfloat16")
    model.predict_on_batch(PIXELS)
    set_precision(model, "float32")
    np.testing.assert_array_equal(model.predict_on_batch(PIXELS), exact)


@pytest.mark.parametrize("outside", ["float32", "float16"])
def test_the_precision_of_a_block_ends_with_it(model, outside):
    set_precision(model, outside)
    before = model.predict_on_batch(PIXELS)
    policies = [layer.dtype_policy.name for layer in [model, *model.layers]]
    with computing_in(model, "bfloat16"):
        assert dtype_inside(model, "block2_conv") == "bfloat16"
        assert not np.array_equal(model.predict_on_batch(PIXELS), before)
    assert [layer.dtype_policy.name for layer in [model, *model.layers]] == policies
    np.testing.assert_array_equal(model.predict_on_batch(PIXELS), before)


def test_float16_gets_loss_scaling(model):
    set_precision(model, "float16")
    model.compile("adam", "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    set_precision(model, "bfloat16")
    model.compile("adam", "mse")
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_pixels_keep_their_fraction(model):
    """float16 or bfloat16 must not round the input before the float32 preprocessing."""
    set_precision(model, "float16")
    layer = keras.Model(model.input, model.get_layer("preprocess").output)
    pixels = np.full((1, 32, 32, 3), 200.123, np.float32)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(pixels)), pixels / 127.5 - 1, atol=1e-6)


def test_as_float32_is_temporary(model):
    set_precision(model, "bfloat16")
    before = [layer.dtype_policy.name for layer in model.layers]
    with pytest.raises(RuntimeError), as_float32(model):
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}
        raise RuntimeError
    assert [layer.dtype_policy.name for layer in model.layers] == before
    assert "mixed_bfloat16" in before


def test_saved_while_bfloat16_loads_as_float32(model, tmp_path):
    exact = model.predict_on_batch(PIXELS)
    set_precision(model, "bfloat16")
    with as_float32(model):
        model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"}
    np.testing.assert_allclose(loaded.predict_on_batch(PIXELS), exact, atol=1e-5)


def test_unknown_precision(model):
    with pytest.raises(UserError, match=r"unknown precision 'bf16'.*float32, bfloat16, float16"):
        set_precision(model, "bf16")


def test_full_float32_puts_the_setting_back():
    def setting() -> object:
        if keras.backend.backend() == "torch":
            import torch

            return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        if keras.backend.backend() == "jax":
            import jax

            return jax.config.jax_default_matmul_precision
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()

    before = setting()
    with full_float32():
        assert setting() in ((False, False), "highest", False)
    assert setting() == before
