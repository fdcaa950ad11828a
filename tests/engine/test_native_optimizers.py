"""The fused Adam and SGD against the stock ones and against the formula in float64."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "torch":
    pytest.skip("native operations exist for torch only", allow_module_level=True)

import torch  # noqa: E402

from keras_transfer.engine import native  # noqa: E402
from keras_transfer.engine.torch_native.optimizers import FusedAdam, install_optimizer, remove_optimizer  # noqa: E402
from keras_transfer.training.group_rates import scale_updates  # noqa: E402

SHAPES = [(3, 3, 4, 8), (8,), (16, 5), ()]


def train(optimizer, steps=6, seed=0):
    """Return variables and slots after a few updates from seeded gradients of very different sizes."""
    rng = np.random.default_rng(seed)
    variables = [keras.Variable(rng.standard_normal(s), name=f"v{i}") for i, s in enumerate(SHAPES)]
    for _ in range(steps):
        grads = [
            torch.from_numpy(np.asarray(rng.standard_normal(s) * 10.0 ** rng.integers(-4, 3))).float() for s in SHAPES
        ]
        optimizer.apply(grads, variables)
    return [v.numpy() for v in variables], [v.numpy() for v in optimizer.variables]


def schedule():
    return keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "epsilon": lambda: keras.optimizers.Adam(0.01, epsilon=0.1, beta_1=0.5, beta_2=0.9),
    "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "schedule": lambda: keras.optimizers.Adam(schedule()),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "clipnorm": lambda: keras.optimizers.AdamW(0.01, clipnorm=0.1),
    "global_clipnorm": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.1),
    "ema": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "momentum": lambda: keras.optimizers.SGD(schedule(), momentum=0.9, weight_decay=0.1),
    "nesterov": lambda: keras.optimizers.SGD(schedule(), momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd_clipped": lambda: keras.optimizers.SGD(0.01, momentum=0.8, nesterov=True, global_clipnorm=0.1),
    "sgd_at_rest": lambda: keras.optimizers.SGD(0.0, momentum=0.9, weight_decay=0.1),
    "sgd_accumulation": lambda: keras.optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_updates_equal_stock(name):
    expected = train(OPTIMIZERS[name]())
    optimizer = OPTIMIZERS[name]()
    assert install_optimizer(optimizer)
    actual = train(optimizer)
    assert len(actual[1]) == len(expected[1])
    for a, e in zip([*actual[0], *actual[1]], [*expected[0], *expected[1]], strict=True):
        # Keras computes 1 - beta_2 ** step in float32, which loses four digits at the first step.
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6)


def test_weight_decay_exclusions_hold():
    results = []
    for fused in (False, True):
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["v1"])
        if fused:
            install_optimizer(optimizer)
        results.append(train(optimizer)[0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)


def test_fused_adam_follows_the_formula():
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-3)
    install_optimizer(optimizer)
    variable = keras.Variable(np.ones(4))
    x, m, v = np.ones(4), np.zeros(4), np.zeros(4)
    rng = np.random.default_rng(0)
    for t in range(1, 8):
        g = rng.standard_normal(4).astype("float32")
        optimizer.apply([torch.from_numpy(g)], [variable])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.astype("float64") ** 2
        x = x - 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-3)
        np.testing.assert_allclose(variable.numpy(), x, rtol=2e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_fused_sgd_follows_the_formula(nesterov):
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=nesterov, weight_decay=0.2)
    install_optimizer(optimizer)
    variable = keras.Variable(np.ones(4))
    x, v = np.ones(4), np.zeros(4)
    rng = np.random.default_rng(0)
    for step in range(5):
        g, lr = rng.standard_normal(4).astype("float32"), 0.1 * 0.5**step
        optimizer.apply([torch.from_numpy(g.copy())], [variable])
        x = x * (1 - 0.2 * lr)  # decoupled: the momentum does not see it
        v = 0.9 * v - lr * g
        x = x + (0.9 * v - lr * g if nesterov else v)
        np.testing.assert_allclose(variable.numpy(), x, rtol=2e-6)


def test_decay_of_layer_groups_is_left_alone():
    optimizer = keras.optimizers.SGD(1.0, momentum=0.9, weight_decay=0.1)
    optimizer.build([keras.Variable(np.ones(3)), keras.Variable(np.ones(3))])
    first, second = optimizer._trainable_variables
    scale_updates(optimizer, {id(first): 0.0})
    assert install_optimizer(optimizer)
    optimizer.apply([torch.zeros(3), torch.zeros(3)], [first, second])
    np.testing.assert_allclose([first.numpy()[0], second.numpy()[0]], [1.0, 0.9], rtol=1e-6)
    remove_optimizer(optimizer)
    assert "_apply_weight_decay" in optimizer.__dict__


@pytest.mark.parametrize("cls", [keras.optimizers.Adam, keras.optimizers.SGD])
def test_gradients_of_any_layout(cls):
    options = {"momentum": 0.9} if cls is keras.optimizers.SGD else {}
    optimizers = [cls(0.01, **options), cls(0.01, **options)]
    install_optimizer(optimizers[1])
    results = []
    for optimizer in optimizers:
        variable = keras.Variable(np.zeros((3, 5)))
        optimizer.apply([torch.arange(15.0).reshape(5, 3).t()], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_half_precision_variables_run_stock():
    results = []
    for fused in (False, True):
        optimizer = keras.optimizers.Adam(0.01)
        if fused:
            assert install_optimizer(optimizer)
        variable = keras.Variable(np.zeros(3), dtype="bfloat16")
        for step in range(20):
            optimizer.apply([torch.full((3,), 1.0 + step, dtype=torch.bfloat16)], [variable])
        results.append(variable.numpy().astype("float32"))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("cls", [keras.optimizers.RMSprop, keras.optimizers.Nadam])
def test_other_optimizers_are_left_alone(cls):
    assert install_optimizer(cls(0.01)) is False


def test_an_optimizer_compiled_later_is_fused_and_removed():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    native.install(model)
    for optimizer in (keras.optimizers.Adam(0.1), keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1))):
        model.compile(optimizer, "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        assert isinstance(inner.__dict__["_parallel_update_step"], FusedAdam)
        native.remove(model)
        assert "_parallel_update_step" not in inner.__dict__
        assert "make_train_function" not in model.__dict__
        native.install(model)


def test_optimizer_state_survives_saving(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    native.install(model)
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert int(loaded.optimizer.iterations) == 2
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
