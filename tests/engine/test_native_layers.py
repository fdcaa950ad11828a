"""Every native layer against the stock layer that it stands in for: outputs, gradients, statistics, dtypes."""

import copy
import itertools

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "torch":
    pytest.skip("native operations exist for torch only", allow_module_level=True)

import torch  # noqa: E402

from keras_transfer.engine.torch_native.layers import install_layer, installed, remove_layer  # noqa: E402

L = keras.layers


def array(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def randomize(layer, seed=1):
    """Give every variable, moving variances included, a value that is not its initial one."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if variable.dtype.startswith("float"):
            value = rng.standard_normal(variable.shape)
            variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)


def run(layer, x, training=None):
    """Return output, gradients (input first) and the values of the variables after one call; then restore them."""
    before = [v.numpy().copy() for v in layer.variables]
    tensor = torch.tensor(x, requires_grad=True)
    for variable in layer.variables:
        variable.value.grad = None
    y = layer(tensor) if training is None else layer(tensor, training=training)
    weight = torch.from_numpy(array(*y.shape, seed=3)).to(y.dtype)
    (y * weight).sum().backward()
    gradients = [tensor.grad] + [v.value.grad for v in layer.trainable_variables]
    after = [v.numpy().copy() for v in layer.variables]
    for variable, value in zip(layer.variables, before):
        variable.assign(value)
    return y.detach().double(), [g.double() for g in gradients], after


def close(actual, expected, tolerance):
    scale = max(1.0, float(expected.abs().max()))
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= tolerance * scale


def compare(layer, x, training=None, forward=1e-5, backward=1e-4):
    """Assert that the layer gives the same before and after the native operation is installed."""
    if not layer.built:
        layer.build(x.shape)
    randomize(layer)
    expected = run(layer, x, training)
    assert install_layer(layer) is None
    operation, ran = installed(layer), []
    original = operation.run
    operation.run = lambda *a, **k: (ran.append(1), original(*a, **k))[1]
    actual = run(layer, x, training)
    assert ran, "the native operation did not run"
    assert actual[0].dtype == expected[0].dtype
    close(actual[0], expected[0], forward)
    for a, e in zip(actual[1], expected[1], strict=True):
        close(a, e, backward)
    for a, e in zip(actual[2], expected[2], strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


GEOMETRIES = [
    {"kernel_size": k, "padding": p, "strides": s, "dilation_rate": d}
    for k, p, s, d in itertools.product((1, 3, (2, 5)), ("valid", "same"), (1, 2), (1, 2))
    if s == 1 or d == 1
]


def name_of(value):
    return "-".join(str(v) for v in value.values()) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=name_of)
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d(geometry, groups):
    compare(L.Conv2D(6, groups=groups, **geometry), array(2, 11, 12, 4))


@pytest.mark.parametrize("activation", ["relu", "relu6", "silu", "hard_silu", "sigmoid", "tanh", "gelu", "softmax"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_conv2d_activation(activation, use_bias):
    compare(L.Conv2D(6, 3, activation=activation, use_bias=use_bias), array(2, 9, 9, 3))


@pytest.mark.parametrize("channels,filters,size", [(1, 1, 5), (1, 8, 7), (3, 1, 4), (8, 5, 1)])
def test_conv2d_with_ambiguous_memory_formats(channels, filters, size):
    compare(L.Conv2D(filters, 3, padding="same"), array(2, size, size, channels))


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g["strides"] in (1, 2)], ids=name_of)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_conv2d(geometry, multiplier):
    compare(L.DepthwiseConv2D(depth_multiplier=multiplier, **geometry), array(2, 11, 12, 4))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=name_of)
def test_separable_conv2d(geometry):
    if geometry["dilation_rate"] == 2 and geometry["kernel_size"] == 1:
        pytest.skip("covered by kernel 3")
    compare(L.SeparableConv2D(6, depth_multiplier=2, activation="relu", **geometry), array(2, 11, 12, 4))


@pytest.mark.parametrize("pool", [2, 3, (2, 3)], ids=str)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [None, 1, 2], ids=str)
@pytest.mark.parametrize("size", [9, 10, 11])
def test_max_pooling(pool, padding, strides, size):
    compare(L.MaxPooling2D(pool, strides=strides, padding=padding), array(2, size, size + 1, 3) - 5.0)


@pytest.mark.parametrize("pool,strides,padding", [(2, 2, "valid"), (3, 1, "same"), (3, 2, "same"), (3, 2, "valid")])
def test_average_pooling(pool, strides, padding):
    compare(L.AveragePooling2D(pool, strides=strides, padding=padding), array(2, 9, 9, 3))


def test_one_sided_average_pooling_stays_as_keras_computes_it():
    layer = L.AveragePooling2D(3, strides=2, padding="same")
    x = array(2, 10, 10, 3)
    expected = run(layer, x)[0]
    install_layer(layer)
    close(run(layer, x)[0], expected, 1e-7)


@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("scale,center", [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (16, 3)], ids=str)
def test_batch_normalization(training, scale, center, shape):
    compare(L.BatchNormalization(scale=scale, center=center, momentum=0.8, epsilon=1e-2), array(*shape), training)


def test_batch_normalization_of_one_value_per_channel():
    compare(L.BatchNormalization(), array(1, 1, 1, 3), training=True)


def test_frozen_batch_normalization_infers():
    layer = L.BatchNormalization()
    layer.build((None, 5, 5, 3))
    layer.trainable = False
    compare(layer, array(2, 5, 5, 3), training=True)


def test_batch_normalization_gradients_match_finite_differences():
    layer = L.BatchNormalization(dtype="float64")
    layer.build((None, 2, 3, 3))
    randomize(layer)
    install_layer(layer)
    x = torch.tensor(array(3, 2, 3, 3, dtype="float64"), requires_grad=True)
    parameters = (layer.gamma.value, layer.beta.value)

    def function(x, gamma, beta):
        return layer(x, training=True)

    assert torch.autograd.gradcheck(function, (x, *parameters), eps=1e-6, atol=1e-6)


def test_convolution_gradients_match_finite_differences():
    layer = L.Conv2D(3, 3, strides=2, padding="same", dtype="float64")
    layer.build((None, 6, 6, 2))
    install_layer(layer)
    x = torch.tensor(array(2, 6, 6, 2, dtype="float64"), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.kernel.value, layer.bias.value))
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x), (x, layer.kernel.value, layer.bias.value))


FACTORIES = {
    "conv": lambda dtype: L.Conv2D(6, 3, padding="same", strides=2, dtype=dtype),
    "depthwise": lambda dtype: L.DepthwiseConv2D(3, padding="same", dtype=dtype),
    "separable": lambda dtype: L.SeparableConv2D(4, 3, dtype=dtype),
    "norm": lambda dtype: L.BatchNormalization(dtype=dtype),
    "pool": lambda dtype: L.MaxPooling2D(3, padding="same", dtype=dtype),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_float64(name):
    # stock BatchNormalization computes float64 inputs in float32; the native one is exact (see the finite differences)
    training, tolerance = (True, 1e-6) if name == "norm" else (None, 1e-12)
    compare(FACTORIES[name]("float64"), array(2, 8, 8, 4, dtype="float64"), training, tolerance, 10 * tolerance)


@pytest.mark.parametrize("name", FACTORIES)
def test_mixed_bfloat16(name):
    layer = FACTORIES[name]("mixed_bfloat16")
    x = array(2, 8, 8, 4)
    reference = copy.copy(layer.get_config()) | {"dtype": "float32"}
    exact = type(layer).from_config(reference)
    training = True if name == "norm" else None
    for each in (layer, exact):
        each.build(x.shape)
        randomize(each)
    x = torch.tensor(x).bfloat16().float().numpy()
    truth, stock = run(exact, x, training), run(layer, x, training)
    assert install_layer(layer) is None
    native = run(layer, x, training)
    assert layer(x).dtype == torch.bfloat16
    for n, s, t in zip([native[0], *native[1]], [stock[0], *stock[1]], [truth[0], *truth[1]], strict=True):
        scale = float(t.abs().max())
        # as close to float32 as stock Keras is, and within bfloat16's own rounding of it
        assert float((n - t).abs().max()) <= 1.5 * float((s - t).abs().max()) + 2**-8 * scale
    for n, s in zip(native[2], stock[2], strict=True):
        np.testing.assert_allclose(n, s, rtol=1e-3, atol=1e-3)


def test_weights_are_never_stale():
    layer = L.Conv2D(4, 3, use_bias=False)
    x = array(1, 6, 6, 2)
    layer.build(x.shape)
    install_layer(layer)
    with torch.no_grad():
        first = layer(x)
        layer.kernel.assign(layer.kernel.value * 2)
        np.testing.assert_allclose(layer(x), 2 * first, rtol=1e-5, atol=1e-6)
        torch._foreach_mul_([layer.kernel.value], 2.0)
        np.testing.assert_allclose(layer(x), 4 * first, rtol=1e-5, atol=1e-6)
        layer.dtype_policy = "mixed_bfloat16"
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "layer,shape,reason",
    [
        (L.Conv2D(3, 3, data_format="channels_first"), (1, 3, 8, 8), "channels_first"),
        (L.BatchNormalization(axis=1), (1, 3, 8, 8), "axis"),
        (L.BatchNormalization(renorm=True), (1, 8, 8, 3), "renormalization"),
        (L.BatchNormalization(), (1, 8, 3), "rank"),
    ],
)
def test_unsupported_layers_are_left_alone_with_the_reason(layer, shape, reason):
    layer.build(shape)
    assert reason in install_layer(layer)
    assert "call" not in layer.__dict__


def test_masked_normalization_runs_stock():
    layer = L.BatchNormalization()
    x, mask = array(4, 5, 5, 3), np.random.default_rng(0).random((4, 5, 5)) > 0.5
    layer.build(x.shape)
    expected = layer(x, mask=mask, training=True)
    install_layer(layer)
    layer.moving_mean.assign(np.zeros(3))
    np.testing.assert_allclose(layer(x, mask=mask, training=True).detach(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_lora_runs_stock():
    layer = L.Conv2D(4, 3)
    x = array(1, 6, 6, 2)
    layer.build(x.shape)
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(array(2, 4))
    expected = layer(x)
    install_layer(layer)
    np.testing.assert_allclose(layer(x).detach(), expected.detach(), rtol=1e-6)


def test_symbolic_and_stateless_calls_go_the_stock_way():
    layer = L.Conv2D(4, 3)
    layer.build((None, 8, 8, 2))
    install_layer(layer)
    assert layer(keras.KerasTensor((None, 8, 8, 2))).shape == (None, 6, 6, 4)
    x = array(1, 8, 8, 2)
    doubled = [v.value.detach() * 2 for v in layer.trainable_variables]
    y, _ = layer.stateless_call(doubled, [], x)
    np.testing.assert_allclose(y.detach(), 2 * layer(x).detach(), rtol=1e-4, atol=1e-5)


def test_remove_restores():
    layer = L.Conv2D(4, 3)
    layer.build((None, 8, 8, 2))
    install_layer(layer)
    first = layer.call
    assert install_layer(layer) is None
    assert layer.call is first
    assert remove_layer(layer) is True
    assert layer.call.__func__ is L.Conv2D.call
    assert remove_layer(layer) is False
