"""Every native convolution on jax against the stock layer that it stands in for: outputs, gradients, dtypes."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "jax":
    pytest.skip("native operations of jax", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from keras_transfer.engine import native  # noqa: E402

L = keras.layers


def model_of(layer, height, width, channels):
    inputs = keras.Input((height, width, channels))
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def run(model, images):
    """Return the output, and the gradients of a weighted sum of it by inputs and by weights."""

    def loss(images, weights):
        y, _ = model.stateless_call(weights, [], images)
        return jnp.sum(y.astype("float32") * jnp.cos(jnp.arange(y.size, dtype="float32")).reshape(y.shape)), y

    weights = [v.value for v in model.trainable_variables]
    (_, y), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(images, weights)
    return [np.asarray(value, dtype="float64") for value in jax.tree.leaves((y, gradients))]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda dtype, k=k, s=s, p=p: L.DepthwiseConv2D(k, s, p, dtype=dtype)
            for k in (1, 2, (3, 5))
            for s in (1, 2)
            for p in ("same", "valid")
        ),
        lambda dtype: L.DepthwiseConv2D(3, use_bias=False, activation="relu", dtype=dtype),
        lambda dtype: L.Conv2D(6, 1, dtype=dtype),
        lambda dtype: L.Conv2D(6, 1, 2, "same", use_bias=False, dtype=dtype),
        lambda dtype: L.Conv2D(6, 1, (1, 3), activation="relu", dtype=dtype),
    ],
)
def test_outputs_and_gradients_are_those_of_the_stock_layer(make, dtype):
    model = model_of(make(dtype), 9, 10, 4)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 9, 10, 4)), "float32")
    expected = run(model, images)
    assert native.install(model).count == 1
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for found, wanted in zip(run(model, images), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
    assert native.remove(model) == 1


@pytest.mark.parametrize(
    "layer",
    [
        L.DepthwiseConv2D(3, depth_multiplier=2),
        L.DepthwiseConv2D(3, dilation_rate=2),
        L.Conv2D(6, 3),
        L.Conv2D(4, 1, groups=2),
    ],
)
def test_what_does_not_fit_stays_stock(layer):
    model = model_of(layer, 9, 10, 4)
    assert native.install(model).count == 0
    assert "call" not in layer.__dict__


def test_a_backbone_predicts_the_same():
    model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, include_top=False)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    report = native.install(model)
    assert len(report.patched["DepthwiseConv2D"]) == 17
    assert "Conv2D, 17 DepthwiseConv2D" in str(report)
    found = model.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
