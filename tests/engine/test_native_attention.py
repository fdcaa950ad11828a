"""Attention on native operations against stock Keras: values, gradients, and what runs stock."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "torch":
    pytest.skip("native operations exist for torch only", allow_module_level=True)

import torch  # noqa: E402

from keras_transfer.engine import native  # noqa: E402
from keras_transfer.engine.torch_native.attention import MOST_TOKENS, AttentionUnit  # noqa: E402
from keras_transfer.keras_compat import graph_nodes  # noqa: E402

HEADS, WIDTH = 3, 8


@pytest.fixture(autouse=True)
def policy():
    """Models cast their inputs to the policy that they were made with."""
    yield
    keras.config.set_dtype_policy("float32")


def attending(dtype: str, queries: int = 7, keys: int = 5, biased: bool = False, **options):
    """A model of three or four inputs that only attends."""
    keras.config.set_dtype_policy(dtype)
    inputs = [keras.Input((n, HEADS, WIDTH), dtype=dtype) for n in (queries, keys, keys)]
    if biased:
        inputs.append(keras.Input((HEADS, queries, keys), dtype=dtype))
        options["bias"] = inputs[3]
    return keras.Model(inputs, keras.ops.dot_product_attention(*inputs[:3], **options))


def values(model, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    shapes = [(4, *tensor.shape[1:]) for tensor in model.inputs]
    return [torch.tensor(scale * rng.normal(size=shape)) for shape in shapes]


def computed(model, inputs):
    """Output and gradients of all inputs, of a weighted sum of the output."""
    inputs = [x.to(getattr(torch, model.inputs[0].dtype)).requires_grad_() for x in inputs]
    y = model(inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y, *torch.autograd.grad((y * weights).sum(), inputs)]


def deviation(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture
def used(monkeypatch):
    """How often attention was computed natively."""
    calls = []
    plain = AttentionUnit.__call__
    monkeypatch.setattr(AttentionUnit, "__call__", lambda *a: calls.append(1) or plain(*a))
    return calls


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_values_and_gradients_are_as_exact_as_bfloat16_is(used, biased, scale):
    options = {} if scale is None else {"scale": scale}
    model, exact = (attending(dtype, biased=biased, **options) for dtype in ("bfloat16", "float64"))
    inputs = [x.to(torch.bfloat16) for x in values(model)]
    expected = computed(exact, inputs)
    native.install(model)
    found = computed(model, inputs)
    assert used
    for one, other in zip(found, expected):
        assert one.shape == other.shape and deviation(one, other) < 0.015


def test_a_call_without_gradient_gives_the_same(used):
    model = attending("bfloat16")
    native.install(model)
    inputs = [x.to(torch.bfloat16) for x in values(model)]
    with torch.no_grad():
        plain = model(inputs)
    assert len(used) == 1 and torch.equal(plain, computed(model, inputs)[0])


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {}),
        ("bfloat16", {"is_causal": True}),
        ("bfloat16", {"queries": MOST_TOKENS, "keys": MOST_TOKENS + 1}),
    ],
)
def test_everything_else_runs_as_keras_computes_it(used, dtype, options):
    model = attending(dtype, **{"keys": 7, **options})
    inputs = [x.to(getattr(torch, dtype)) for x in values(model)]
    expected = model(inputs)
    native.install(model)
    assert torch.equal(model(inputs), expected) and not used


def test_a_mask_is_kept(used):
    keras.config.set_dtype_policy("bfloat16")
    q, k, v = (keras.Input((5, HEADS, WIDTH), dtype="bfloat16") for _ in range(3))
    mask = keras.Input((1, 5, 5), dtype="bool")
    model = keras.Model([q, k, v, mask], keras.ops.dot_product_attention(q, k, v, mask=mask))
    inputs = [x.to(torch.bfloat16) for x in values(attending("bfloat16", 5))]
    seen = torch.ones((4, 1, 5, 5), dtype=torch.bool).tril()
    expected = model([*inputs, seen])
    native.install(model)
    assert torch.equal(model([*inputs, seen]), expected) and not used


def test_a_transformer_trains_on_it(used):
    inputs = keras.Input((6, HEADS * WIDTH))
    x = keras.layers.Dense(3 * HEADS * WIDTH, dtype="mixed_bfloat16")(inputs)
    qkv = keras.ops.reshape(x, (-1, 6, 3, HEADS, WIDTH))
    x = keras.ops.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    x = keras.ops.mean(keras.ops.reshape(x, (-1, 6, HEADS * WIDTH)), axis=1)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
    assert any(type(node.operation).__name__ == "DotProductAttention" for node in graph_nodes(model))
    native.install(model)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    model.fit(np.random.default_rng(0).normal(size=(8, 6, HEADS * WIDTH)), np.arange(8) % 2, verbose=0)
    assert used and all(np.abs(a - b).max() > 0 for a, b in zip(before[:1], model.get_weights()[:1]))
