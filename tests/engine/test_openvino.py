"""The graph that OpenVINO computes is the backend's, layer by layer and as a whole."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer import runtime
from keras_transfer.engine import extractors
from keras_transfer.engine.extractors import BATCH_SIZE, BackendExtractor, choose_extractor
from keras_transfer.engine.prefix import find_cut
from keras_transfer.models import backbones
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytest.importorskip("openvino")
pytestmark = pytest.mark.backend

L = keras.layers


def images(shape: tuple[int, ...], count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def computed(extractor, batches: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([rows for _, rows in sorted(extractor.compute(batches), key=lambda pair: pair[0])])


def chosen(model: keras.Model, precision: str = "float32"):
    """The extractor, and what it said."""
    said: list[str] = []
    return choose_extractor(model, precision, True, said.append), said


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    """The greatest difference, relative to the largest feature."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def randomised(model: keras.Model) -> keras.Model:
    """Give every weight a value of its own, statistics of BatchNormalization and biases too."""
    generator = np.random.default_rng(1)
    for layer in model.layers:
        weights = [generator.normal(0.1, 0.3, w.shape).astype(np.float32) for w in layer.get_weights()]
        if isinstance(layer, L.BatchNormalization):
            weights[-1] = np.abs(weights[-1]) + 0.5
        layer.set_weights(weights)
    return model


LAYERS = {
    "conv same, stride 2": lambda x: L.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x),
    "conv valid, even kernel": lambda x: L.Conv2D(6, (2, 4), use_bias=False)(x),
    "conv dilated": lambda x: L.Conv2D(6, 3, dilation_rate=2, padding="same", activation="silu")(x),
    "conv in groups": lambda x: L.Conv2D(8, 3, groups=2)(L.Conv2D(4, 1)(x)),
    "depthwise, multiplier 2": lambda x: L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x),
    "separable": lambda x: L.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu6")(x),
    "separable, stride 2": lambda x: L.SeparableConv2D(5, 3, strides=2, padding="same", use_bias=False)(x),
    "batch norm": lambda x: L.BatchNormalization()(x),
    "batch norm, no scale or center": lambda x: L.BatchNormalization(scale=False, center=False, epsilon=0.1)(x),
    "layer norm": lambda x: L.LayerNormalization(epsilon=1e-3)(L.Conv2D(7, 1)(x)),
    "dense on a map": lambda x: L.Dense(5, activation="gelu")(x),
    "dense": lambda x: L.Dense(5, activation="tanh")(L.GlobalAveragePooling2D()(x)),
    "max pool same": lambda x: L.MaxPooling2D(3, strides=2, padding="same")(x),
    "average pool same": lambda x: L.AveragePooling2D(3, strides=1, padding="same")(x),
    "average pool valid": lambda x: L.AveragePooling2D((2, 3))(x),
    "global pools": lambda x: L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)]),
    "padding and cropping": lambda x: L.Cropping2D(((1, 2), (3, 0)))(L.ZeroPadding2D(((0, 1), (2, 3)))(x)),
    "squeeze and excite": lambda x: L.Multiply()(
        [x, L.Dense(3, activation="sigmoid")(L.Reshape((1, 1, 3))(L.GlobalAveragePooling2D()(x)))]
    ),
    "compressed vector": lambda x: L.Activation("softsign")(L.UnitNormalization()(L.GlobalAveragePooling2D()(x))),
    "kept dimensions": lambda x: L.Multiply()([x, L.GlobalAveragePooling2D(keepdims=True)(x)]),
    "reshape and flatten": lambda x: L.Flatten()(L.Conv2D(2, 2)(L.Reshape((5, 7, 12))(L.Conv2D(2, 1)(x)))),
    "rescaling a channel": lambda x: L.Rescaling([0.5, 2.0, 0.1], [1.0, -3.0, 0.0])(x),
    "flips": lambda x: keras.ops.flip(keras.ops.flip(x, axis=-1), axis=1),
    "concatenated": lambda x: L.Concatenate(axis=1)([x, x]),
    "added": lambda x: L.Add()([x, L.Rescaling(0.5)(x), L.Dropout(0.3)(x)]),
    "leaky": lambda x: L.ReLU(negative_slope=0.1, max_value=40)(L.Rescaling(1.0, -100.0)(x)),
    "hard activations": lambda x: L.Activation("hard_silu")(L.Activation("hard_sigmoid")(L.Rescaling(0.02, -2.0)(x))),
    "smooth activations": lambda x: L.Activation("elu")(L.Activation("mish")(L.Rescaling(0.02, -2.0)(x))),
    "tokens": lambda x: L.Average()([_tokens(x)[:, 0], L.GlobalMaxPooling1D()(_tokens(x)), _mean(_tokens(x)[:, 3:])]),
    "tokens' norms": lambda x: L.LayerNormalization()(L.RMSNormalization()(L.Dense(8)(_tokens(x)))),
    "factor for each channel": lambda x: L.EinsumDense("abz,z->abz", (210, 3), kernel_initializer="normal")(_tokens(x)),
    "factors of a table": lambda x: L.Rescaling(np.random.rand(210, 3).tolist())(_tokens(x)),
    "gelu by tanh": lambda x: keras.ops.gelu(L.Rescaling(0.02, -2.0)(x), approximate=True),
    "attention": lambda x: keras.ops.dot_product_attention(
        _heads(x)[:, :, 0], _heads(x)[:, :, 1], _heads(x)[..., 2, :, :]
    ),
    "attention with a bias": lambda x: keras.ops.dot_product_attention(
        _heads(x)[:, :, 0],
        _heads(x)[:, :, 1],
        _heads(x)[:, :, 2],
        bias=L.Reshape((4, 21, 21))(L.Dense(1764)(_mean(_tokens(x)))),
    ),
    "attention of as many tokens as heads": lambda x: L.Dense(4)(L.Reshape((6, 30))(_square_attention(x))),
    "axes in another order": lambda x: L.Permute((2, 4, 1, 3, 5))(L.Reshape((2, 5, 3, 7, 3))(x)),
    "rows for columns": lambda x: L.Conv2D(4, 3)(L.Permute((2, 1, 3))(x)),
    "channels moved": lambda x: L.Permute((3, 1, 2))(L.Permute((2, 3, 1))(L.Rescaling(0.1)(x))),
    "tokens for channels": lambda x: L.Dense(4)(L.Permute((2, 1))(_tokens(x))),
    "every second": lambda x: x[:, ::2, 1::2],
    "products": lambda x: keras.ops.matmul(_heads(x)[:, :, 0], L.Permute((1, 3, 2))(_heads(x)[:, :, 1])),
    "softmax": lambda x: L.Softmax(axis=1)(L.Softmax(axis=-1)(L.Rescaling(0.02)(x))),
    "softmax of tokens": lambda x: L.Softmax(axis=1)(_tokens(x)),
    "learnt tokens": lambda x: L.Concatenate(axis=1)([_constant(x), _tokens(x), _constant(x)]),
    "arithmetic with numbers": lambda x: 2.0 - keras.ops.minimum(keras.ops.sqrt(keras.ops.square(x) + 3.0) / 7.0, 20.0),
    "arithmetic with tensors": lambda x: L.Subtract()(
        [keras.ops.maximum(x, x * 0.5 + 9.0), keras.ops.absolute(x - 40.0)]
    ),
    "sums": lambda x: keras.ops.exp(
        keras.ops.mean(x, axis=-1, keepdims=True) / keras.ops.sum(x, axis=(1, 2), keepdims=True)
    ),
    "sums of tokens": lambda x: keras.ops.sum(_tokens(x), axis=1),
    "repeated": lambda x: keras.ops.repeat(_tokens(x), 2, axis=2),
    "groups of channels": lambda x: L.GroupNormalization(2, epsilon=1e-3)(L.Conv2D(6, 1)(x)),
    "root mean square of a map": lambda x: L.RMSNormalization()(L.Conv2D(7, 1)(x)),
    "attention of a layer": lambda x: L.Attention()([_tokens(x)[:, :5], L.Dense(6)(_tokens(x)), _tokens(x)]),
    "enlarged": lambda x: L.UpSampling2D((2, 3))(x),
    "merged into the batch": lambda x: keras.ops.reshape(
        L.Dense(4)(keras.ops.reshape(L.Permute((2, 1))(_tokens(x)), (-1, 70, 3))), (-1, 3, 280)
    ),
    "reshaped by an operation": lambda x: L.Identity()(keras.ops.reshape(x, (-1, 21, 30))),
}


def _tokens(x):
    return L.Reshape((210, 3))(L.Rescaling(0.02, -2.0)(x))


def _mean(x):
    return L.GlobalAveragePooling1D()(x)


def _heads(x):  # 21 tokens; queries, keys and values of 4 heads
    return L.Reshape((21, 3, 4, 5))(L.Dense(60)(L.Reshape((21, 30))(L.Rescaling(0.02, -2.0)(x))))


def _square_attention(x):
    heads = L.Reshape((6, 3, 6, 5))(L.Dense(90)(L.Reshape((6, 105))(L.Rescaling(0.02, -2.0)(x))))
    q, k, v = (L.Reshape((6, 6, 5))(heads[:, :, place]) for place in range(3))
    return keras.ops.dot_product_attention(keras.ops.divide(q, keras.ops.sqrt(keras.ops.square(q) + 1.0)), k, v)


def _constant(x):
    """The same for every picture."""
    ones = L.Rescaling(0.0, 1.0)(_mean(_tokens(x)))
    return L.Permute((2, 1))(L.Reshape((3, 2))(L.RepeatVector(2)(L.Dense(3)(ones))))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_computes_what_keras_does(name):
    image = keras.Input((10, 21, 3))
    model = randomised(keras.Model(image, LAYERS[name](image)))
    extractor, said = chosen(model)
    assert extractor.name.startswith("OpenVINO") and not said
    x = images((10, 21, 3))
    assert furthest(computed(extractor, [x]), np.asarray(model.predict(x, verbose=0))) < 1e-5


def test_the_test_of_layers_covers_the_table():
    from keras_transfer.engine.openvino_graph import BUILDERS

    image = keras.Input((10, 21, 3))
    used = {type(op).__name__ for make in LAYERS.values() for op in keras.Model(image, make(image)).operations}
    assert set(BUILDERS) <= used


FAMILIES = (
    "mobilenet_v2", "mobilenet_v3_small", "resnet50", "resnet50_v2", "efficientnet_b0", "convnext_tiny", "densenet121",
    "vgg16", "xception",
)  # fmt: skip


# Every layer is compared on every backend above; whole networks of them on the first.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "tiny", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in FAMILIES)]
)
def test_features_of_backbones_are_those_of_the_backend(name):
    size = backbones.get(name).min_size + 9
    model = build_classifier(name, 3, image_size=size, weights="none")
    apply_train(model, name, "head", batch_norm="frozen")
    cut = find_cut(model)
    extractor, said = chosen(cut.prefix)
    assert extractor.name.startswith("OpenVINO") and not said
    x = images((size, size, 3))
    found, expected = computed(extractor, [x]), np.asarray(cut.prefix.predict(x, verbose=0))
    assert furthest(found, expected) < 1e-4


def test_an_average_over_one_sided_padding_is_what_the_backend_makes_of_it():
    image = keras.Input((10, 21, 3))
    model = keras.Model(image, L.AveragePooling2D(3, strides=2, padding="same")(image))
    extractor, said = chosen(model)
    assert isinstance(extractor, BackendExtractor) == (keras.backend.backend() == "torch") == bool(said)
    x = images((10, 21, 3))
    assert furthest(computed(extractor, [x]), np.asarray(model.predict(x, verbose=0))) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not runtime.precision.processor_has_bfloat16(), reason="needs a processor with bfloat16")
def test_bfloat16_points_the_same_way_as_float32():
    model = build_classifier("efficientnet_lite0", 3, image_size=96)
    apply_train(model, "efficientnet_lite0", "head", batch_norm="frozen")
    prefix = find_cut(model).prefix
    coarse = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    x = coarse.repeat(16, axis=1).repeat(16, axis=2)
    exact, rounded = (computed(chosen(prefix, precision)[0], [x]) for precision in ("float32", "bfloat16"))
    cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert 0.99 < cosine.min() < 1 - 1e-6  # close to it, and not float32 in disguise


def test_many_batches_come_back_under_their_numbers():
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, L.GlobalAveragePooling2D()(image))
    x = images((6, 6, 3), 7 * BATCH_SIZE + 5)
    extractor, _ = chosen(model)
    batches = [x[start : start + BATCH_SIZE] for start in range(0, len(x), BATCH_SIZE)]
    np.testing.assert_allclose(computed(extractor, batches), x.mean((1, 2)), rtol=1e-5)


class Squared(keras.layers.Layer):
    def call(self, x):
        return x * x


def test_a_layer_without_builder_is_computed_by_the_backend_and_named():
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, L.GlobalAveragePooling2D()(Squared(name="odd_one")(image)))
    extractor, said = chosen(model)
    assert isinstance(extractor, BackendExtractor)
    assert len(said) == 1 and "odd_one (Squared)" in said[0]
    x = images((6, 6, 3)) // 16
    np.testing.assert_allclose(computed(extractor, [x]), (x.astype(float) ** 2).mean((1, 2)), rtol=1e-5)


def test_an_activation_of_the_users_is_not_taken_for_keras_own():
    def relu(x):
        return keras.ops.relu(x) + 1

    image = keras.Input((6, 6, 3))
    extractor, said = chosen(keras.Model(image, L.Activation(relu, name="odd_one")(image)))
    assert isinstance(extractor, BackendExtractor) and "odd_one" in said[0]


def test_without_openvino_the_backend_computes_and_says_what_to_install(monkeypatch):
    find = extractors.importlib.util.find_spec
    monkeypatch.setattr(extractors.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, L.GlobalAveragePooling2D()(image))
    extractor, said = chosen(model)
    assert isinstance(extractor, BackendExtractor)
    assert said == ['frozen features would be faster with OpenVINO: pip install "keras_transfer[cpu]"']
    x = images((6, 6, 3), 5)
    np.testing.assert_allclose(computed(extractor, [x]), x.mean((1, 2)), rtol=1e-5)
