"""Whole models on native operations against the same models stock: logits, gradients, statistics, special calls."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "torch":
    pytest.skip("native operations exist for torch only", allow_module_level=True)

import torch  # noqa: E402

from keras_transfer.engine import native  # noqa: E402
from keras_transfer.engine.torch_native.graph import GraphCall  # noqa: E402
from keras_transfer.engine.torch_native.tensors import Cached  # noqa: E402

L = keras.layers


def unit(x, filters, name, stride=1, activation="relu"):
    x = L.ZeroPadding2D(((0, 1), (0, 1)) if stride == 2 else 1, name=f"{name}_pad")(x)
    x = L.Conv2D(filters, 3, strides=stride, use_bias=stride == 2, name=f"{name}_conv")(x)
    x = L.BatchNormalization(name=f"{name}_bn")(x)
    return L.Activation(activation, name=f"{name}_act")(x)


def residual_net(dtype="float32"):
    """Every pattern in one graph: padding, residuals of both kinds, pre-activation, squeeze and excite, two outputs."""
    keras.config.set_dtype_policy(dtype)
    inputs = keras.Input((24, 24, 3), name="image")
    x = L.Rescaling(0.5, name="rescale")(inputs)
    x = unit(x, 8, "stem", stride=2)
    x = L.ZeroPadding2D(1)(x)
    x = L.MaxPooling2D(3, strides=2)(x)
    shortcut = L.Conv2D(12, 1, name="shortcut")(x)
    shortcut = L.BatchNormalization(name="shortcut_bn")(shortcut)
    y = unit(x, 12, "a", activation="silu")
    y = L.BatchNormalization(name="b_bn")(L.Conv2D(12, 3, padding="same", name="b_conv")(y))
    x = L.ReLU(name="join")(L.Add()([shortcut, y]))
    y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="dw", use_bias=False)(x)
    y = L.ReLU(6.0)(L.BatchNormalization(scale=False)(y))
    gate = L.Activation("sigmoid")(L.Dense(24)(L.GlobalAveragePooling2D()(y)))
    y = L.Multiply()([y, L.Reshape((1, 1, 24))(gate)])
    y = L.BatchNormalization(center=False)(L.Conv2D(12, 1)(y))
    x = L.Add()([x, L.Dropout(0.0)(y)])
    feature = L.ReLU(name="feature")(L.BatchNormalization(name="preact")(x))
    x = L.Concatenate()([feature, L.AveragePooling2D(3, strides=1, padding="same")(feature)])
    x = L.SeparableConv2D(8, 3, activation="relu")(x)
    logits = L.Dense(5, dtype="float32", name="logits")(L.GlobalAveragePooling2D()(x))
    keras.config.set_dtype_policy("float32")
    return keras.Model(inputs, [logits, feature])


def mobilenet_v2(dtype="float32"):
    keras.config.set_dtype_policy(dtype)
    model = keras.applications.MobileNetV2((64, 64, 3), weights=None, classes=7, classifier_activation=None)
    keras.config.set_dtype_policy("float32")
    return model


def resnet50(dtype="float32"):
    keras.config.set_dtype_policy(dtype)
    model = keras.applications.ResNet50(
        input_shape=(64, 64, 3), weights=None, classes=7, classifier_activation=None, include_top=True
    )
    keras.config.set_dtype_policy("float32")
    return model


MODELS = {"residual_net": residual_net, "mobilenet_v2": mobilenet_v2, "resnet50": resnet50}


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def build(name, dtype="float32"):
    model = MODELS[name](dtype)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(1 + 0.2 * np.abs(rng.standard_normal(variable.shape)))
        elif variable.name in ("moving_mean", "beta"):
            variable.assign(0.1 * rng.standard_normal(variable.shape))
    return model


def images(model, n=4, dtype="float32"):
    return torch.from_numpy(np.random.default_rng(2).standard_normal((n, *model.input_shape[1:])).astype(dtype))


def freeze_norms(model):
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.trainable = False


def run(model, training):
    """Return outputs, the gradients and the non-trainable values after one step; restore the values."""
    before = [v.numpy().copy() for v in model.variables]
    for variable in model.variables:
        variable.value.grad = None
    x = images(model, dtype=model.layers[0].dtype)
    outputs = model(x, training=training)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    weights = [np.random.default_rng(3).standard_normal(tuple(y.shape)) for y in outputs]
    sum((y * torch.from_numpy(w).to(y.dtype)).sum() for y, w in zip(outputs, weights)).backward()
    gradients = [v.value.grad.double() for v in model.trainable_variables]
    state = [torch.from_numpy(v.numpy().astype("float64")) for v in model.non_trainable_variables]
    for variable, value in zip(model.variables, before):
        variable.assign(value)
    return [y.detach().double() for y in outputs], gradients, state


def error(actual, expected):
    """Return the relative error of all tensors together, in the Euclidean norm."""
    difference = sum(float((a - e).square().sum()) for a, e in zip(actual, expected, strict=True))
    return (difference / sum(float(e.square().sum()) for e in expected)) ** 0.5


SLOW = [pytest.param(name, marks=[pytest.mark.exhaustive] if name == "resnet50" else []) for name in MODELS]


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("case", ["training, frozen normalization", "inference"])
def test_models_equal_stock(name, case):
    model, training = build(name), case != "inference"
    if training:
        freeze_norms(model)
    expected = run(model, training)
    native.install(model)
    actual = run(model, training)
    for part, tolerance in zip(range(3), (1e-5, 1e-4, 1e-6)):
        assert error(actual[part], expected[part]) <= tolerance
    with torch.no_grad():
        y = model(images(model), training=training)
    y = y if isinstance(y, list) else [y]
    assert error([t.double() for t in y], expected[0]) <= 1e-5


@pytest.mark.parametrize("name", SLOW)
def test_training_mode_is_as_exact_as_stock(name):
    """Fifty normalizations by batch statistics amplify rounding by chance, so both are held against float64."""
    model, exact = build(name), build(name, "float64")
    exact.set_weights(model.get_weights())
    native.install(exact)
    truth = run(exact, True)
    stock = run(model, True)
    native.install(model)
    actual = run(model, True)
    for part in range(3):
        assert error(actual[part], truth[part]) <= 4 * error(stock[part], truth[part]) + 1e-6
    assert error(actual[2], stock[2]) <= 1e-5


@pytest.mark.parametrize("name", ["residual_net", "mobilenet_v2"])
def test_mixed_bfloat16_is_as_exact_as_stock(name):
    model, exact = build(name, "mixed_bfloat16"), build(name)
    exact.set_weights(model.get_weights())
    for each in (model, exact):
        freeze_norms(each)
    truth, stock = run(exact, True), run(model, True)
    native.install(model)
    actual = run(model, True)
    for part in range(2):
        assert error(actual[part], truth[part]) <= 1.5 * error(stock[part], truth[part])


def test_the_graph_fuses_what_it_should():
    fused = native.install(build("residual_net")).fused
    assert fused == {
        "ZeroPadding2D+Conv2D+BatchNormalization+Activation": 2,
        "ZeroPadding2D+MaxPooling2D": 1,
        "Conv2D+BatchNormalization": 2,
        "Conv2D+BatchNormalization+Add+ReLU": 1,
        "DepthwiseConv2D+BatchNormalization+ReLU": 1,
        "BatchNormalization+ReLU": 1,
    }


def test_every_intermediate_tensor_is_right():
    """Overwriting a tensor that someone still reads would show here."""
    model = build("residual_net")
    tensors = [layer.output for layer in model.layers]
    every = keras.Model(model.input, tensors)
    x = images(model)
    expected = every(x, training=False)
    native.install(every)
    native.install(model)
    for actual, stock in zip(every(x, training=False), expected, strict=True):
        assert error([actual.detach().double()], [stock.detach().double()]) <= 1e-5


def test_frozen_backbone_keeps_weights_current():
    model = build("residual_net")
    model.trainable = False
    native.install(model)
    x = images(model)
    model(x)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization) and layer.scale:
            layer.gamma.assign(layer.gamma.value * 1.5)
    actual = model(x)
    native.remove(model)
    assert error([y.double() for y in actual], [y.double() for y in model(x)]) <= 1e-5


def test_precision_may_change_at_run_time():
    model = build("mobilenet_v2")
    native.install(model)
    x = images(model)
    full = model(x).detach()
    for layer in model.layers[:-1]:
        layer.dtype_policy = "mixed_bfloat16"
    half = model(x).detach()
    assert 0 < error([half.double()], [full.double()]) <= 0.1
    for layer in model.layers:
        layer.dtype_policy = "float32"
    torch.testing.assert_close(model(x).detach(), full)


def test_layers_of_different_precision_are_not_mixed_up():
    model = build("residual_net")
    model.get_layer("b_bn").dtype_policy = "mixed_bfloat16"
    expected = model(images(model))
    native.install(model)
    assert error([y.double() for y in model(images(model))], [y.double() for y in expected]) <= 1e-2


def test_nested_and_sequential_models():
    inner = build("residual_net")
    base = keras.Model(inner.input, inner.output[1])
    model = keras.Sequential([keras.Input((24, 24, 3)), base, L.Conv2D(4, 1, activation="relu"), L.Flatten()])
    expected = run(model, False)
    report = native.install(model)
    assert isinstance(base.__dict__["call"], GraphCall)
    assert isinstance(model._functional.__dict__["call"], GraphCall)
    assert report.fused["BatchNormalization+ReLU"] == 1
    actual = run(model, False)
    assert error(actual[0], expected[0]) <= 1e-5
    assert error(actual[1], expected[1]) <= 1e-4
    native.remove(model)
    assert all("call" not in m.__dict__ for m in (base, model._functional))


def test_nested_call_with_training_false_follows_keras():
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization()])
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, L.Flatten()(inner(inputs, training=False)))
    x = images(model)
    for training in (True, False, None):
        native.remove(model)
        before = inner.get_weights()
        expected, after = model(x, training=training).detach(), inner.get_weights()
        inner.set_weights(before)
        native.install(model)
        torch.testing.assert_close(model(x, training=training).detach(), expected, rtol=1e-4, atol=1e-5)
        for a, b in zip(inner.get_weights(), after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_symbolic_calls_and_masks_go_the_stock_way():
    model = build("residual_net")
    native.install(model)
    logits, _ = model(keras.KerasTensor((None, 24, 24, 3)))
    assert logits.shape == (None, 5)
    wrapped = keras.Model(model.input, L.Dense(2)(model.output[0]))
    assert wrapped(images(model)).shape == (4, 2)


def test_shared_layer_in_two_places():
    conv, norm = L.Conv2D(3, 3, padding="same", name="conv"), L.BatchNormalization(name="norm")
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(norm(conv(inputs)))
    x = L.ReLU()(norm(conv(x)))
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(x))
    expected = run(model, True)
    assert native.install(model).fused["Conv2D+BatchNormalization+ReLU"] == 2
    actual = run(model, True)
    for part, tolerance in zip(range(3), (1e-5, 1e-4, 1e-5)):
        assert error(actual[part], expected[part]) <= tolerance


def test_custom_classes_are_left_alone():
    class Doubled(L.Conv2D):
        def call(self, inputs):
            return 2 * super().call(inputs)

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, L.ReLU()(Doubled(4, 3)(inputs)))
    expected = model(images(model)).detach()
    assert native.install(model).count == 0
    torch.testing.assert_close(model(images(model)).detach(), expected)


def test_cached_values_follow_every_kind_of_write():
    source, made = torch.nn.Parameter(torch.ones(3)), []
    cached = Cached()

    def value(tensor):
        return cached.get((tensor,), (), lambda: (made.append(1), tensor.detach().clone())[1])

    with torch.no_grad():
        writes = [
            lambda: source.add_(1),
            lambda: source.copy_(torch.zeros(3)),
            lambda: torch._foreach_add_([source], 1.0),
            lambda: source.set_(torch.full((3,), 7.0)),
        ]
        for write in writes:
            value(source)
            write()
            torch.testing.assert_close(value(source), source.detach())
    assert len(made) == len(writes) + 1
    other = torch.nn.Parameter(torch.zeros(3))
    torch.testing.assert_close(value(other), other.detach())


def test_the_torch_compiler_gets_the_stock_graph():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3)(inputs))))
    x = images(model)
    with torch.no_grad():
        expected = model(x, training=False)
        native.install(model)
        compiled = torch.compile(lambda t: model(t, training=False), backend="eager")
        torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-6)


def test_threads_may_predict_together():
    from concurrent.futures import ThreadPoolExecutor

    model = build("residual_net")
    native.install(model)
    x = images(model)

    def predict(_):
        with torch.no_grad():
            return model(x, training=False)[0]

    expected = predict(0)
    native.remove(model)
    native.install(model)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(predict, range(8)):
            torch.testing.assert_close(y, expected)
