"""Kernels in the memory that the convolution wants: the same values, kept there by whatever is assigned or trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch")
if keras.backend.backend() != "torch":
    pytest.skip("torch backend only", allow_module_level=True)

from keras_transfer.engine.native import install, remove  # noqa: E402
from keras_transfer.engine.torch_native.layout import is_settled  # noqa: E402

pytestmark = pytest.mark.backend


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv")(inputs)
    x = keras.layers.Conv2D(6, 1, strides=2, use_bias=False, name="narrow")(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))


def fitted(optimizer: keras.optimizers.Optimizer, native: bool) -> keras.Model:
    model = small_model()
    if native:
        install(model)
    model.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(24, 9, 9, 3)).astype(np.float32)
    model.fit(x, np.eye(2)[np.arange(24) % 2], batch_size=8, epochs=2, verbose=0, shuffle=False)
    return model


def kernels(model: keras.Model) -> list[keras.Variable]:
    return [model.get_layer(name)._kernel for name in ("conv", "narrow")]


def test_values_stay_and_so_does_the_place_of_what_is_assigned():
    model = small_model()
    before = model.get_weights()
    install(model)
    assert all(is_settled(kernel._value) for kernel in kernels(model))
    assert not kernels(model)[0]._value.is_contiguous()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    model.set_weights([2 * value for value in before])
    assert all(is_settled(kernel._value) for kernel in kernels(model))
    assert all(np.array_equal(2 * a, b) for a, b in zip(before, model.get_weights()))
    remove(model)
    x = np.ones((1, 9, 9, 3), np.float32)
    stock = small_model()
    stock.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict_on_batch(x), stock.predict_on_batch(x), rtol=1e-5, atol=1e-6)


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw, clipped": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.5),
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_gives_the_weights_of_stock_keras(name):
    stock, ours = (fitted(OPTIMIZERS[name](), native) for native in (False, True))
    for kernel in kernels(ours):
        assert is_settled(kernel._value)
        assert kernel._value.grad.stride() == kernel._value.stride()
    for variable, value in zip(ours.optimizer.variables, stock.optimizer.variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), rtol=1e-3, atol=1e-6, err_msg=variable.path)
        if variable.ndim == 4:
            assert is_settled(variable._value), variable.path
    for a, b in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
