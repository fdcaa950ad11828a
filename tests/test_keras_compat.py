"""The private names of Keras that the package uses are as it expects, and only `keras_compat` uses them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_transfer
from keras_transfer import keras_compat as compat

PACKAGE = Path(keras_transfer.__file__).parent
TORCH = keras.backend.backend() == "torch"
on_torch = pytest.mark.skipif(not TORCH, reason="names of the torch backend")
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="names of the jax backend")


# === No other module uses private names ===


def modules(inside: bool):
    for path in sorted(PACKAGE.rglob("*.py")):
        if (path.parent.name == "keras_compat") is inside:
            yield path.relative_to(PACKAGE.parent), ast.parse(path.read_text(encoding="utf-8"))


def private_names(tree: ast.AST) -> set[str]:
    """Attributes, and texts that may be names of attributes, with one leading underscore."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {name for name in found if name.startswith("_") and not name.startswith("__") and name.isidentifier()}


def test_only_keras_compat_imports_keras_src():
    for path, tree in modules(inside=False):
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(f"{name}.".startswith("keras.src.") for name in names), f"{path}:{node.lineno}"


def test_only_keras_compat_uses_the_private_names():
    private = set().union(*(private_names(tree) for _, tree in modules(inside=True)))
    assert {"_flatten_layers", "_value", "_backend_update_step"} <= private
    used = {str(path): sorted(private_names(tree) & private) for path, tree in modules(inside=False)}
    assert {path: names for path, names in used.items() if names} == {}


def test_keras_compat_imports_no_framework():
    code = "import sys, keras_transfer.keras_compat; print({'keras', 'torch', 'jax', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# === The names are there and do what their docstrings say ===


@pytest.mark.backend
class TestLayers:
    @pytest.fixture
    def nested(self):
        inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()], name="inner")
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(2, name="top")(inner(inputs)), name="outer"), inner

    def test_all_layers(self, nested):
        model, inner = nested
        found = compat.all_layers(model)
        assert found[0] is model
        assert {id(layer) for layer in (*model.layers, *inner.layers)} <= {id(layer) for layer in found}
        assert found.index(inner) < found.index(inner.layers[0])

    def test_layers_and_graphs(self, nested):
        model, _ = nested
        graphs = [layer for layer in compat.layers_and_graphs(model) if layer not in compat.all_layers(model)]
        assert len(graphs) == 1
        assert compat.has_graph(graphs[0])

    def test_methods_are_replaced_without_being_tracked(self):
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        weights = len(layer.weights)

        class Call(keras.layers.Layer):
            def __call__(self, x):
                return x * 0

        assert compat.replaced_method(layer, "call") is None
        replacement = Call()
        compat.replace_method(layer, "call", replacement)
        assert compat.replaced_method(layer, "call") is replacement
        assert compat.all_layers(layer) == [layer]
        assert not np.any(keras.ops.convert_to_numpy(layer(np.ones((1, 3), "float32"))))
        compat.restore_method(layer, "call")
        assert np.any(keras.ops.convert_to_numpy(layer(np.ones((1, 3), "float32"))))
        assert len(layer.weights) == weights
        assert compat.replaced_method(None, "call") is None

    def test_recomputes(self):
        assert not compat.recomputes(keras.layers.Dense(1))
        with keras.RematScope(mode="full"):
            assert compat.recomputes(keras.layers.Dense(1))

    @pytest.mark.parametrize("kind", [keras.layers.Dense(3), keras.layers.EinsumDense("ab,bc->ac", 3, bias_axes="c")])
    def test_adapters(self, kind):
        kind.build((None, 5))
        before = kind.get_weights()
        kind.enable_lora(2)
        assert compat.kernel_variable(kind).shape == (5, 3) and not compat.kernel_variable(kind).trainable
        assert len(kind.weights) == 4
        compat.remove_adapter(kind)
        compat.set_trainable(kind, True)
        assert [v.trainable for v in kind.weights] == [True, True] and "lora_rank" not in kind.get_config()
        for old, new in zip(before, kind.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        kind.enable_lora(1)  # once more

    def test_takes_training(self):
        assert compat.takes_training(keras.layers.Dropout(0.5))
        assert compat.takes_training(keras.layers.BatchNormalization())
        assert not compat.takes_training(compat.producer(keras.Input((4,)) + 1))

    @pytest.mark.parametrize("kind", ["Conv2D", "ReLU", "BatchNormalization", "GlobalAveragePooling2D"])
    def test_snake_case(self, kind):
        layer = getattr(keras.layers, kind)(*((1, 1) if kind == "Conv2D" else ()))
        assert layer.name.startswith(compat.snake_case(kind))


@pytest.mark.backend
class TestGraph:
    @pytest.fixture
    def model(self):
        inputs = keras.Input((4,), name="in")
        hidden = keras.layers.Dense(3, name="hidden")
        x = hidden(inputs)
        y = keras.layers.Add(name="sum")([x, keras.layers.ReLU(name="relu")(x)])
        return keras.Model(inputs, {"y": y})

    def test_has_graph(self, model):
        class Subclass(keras.Model):
            pass

        assert compat.has_graph(model)
        assert not compat.has_graph(Subclass())

    def test_nodes_and_tensors(self, model):
        nodes = compat.graph_nodes(model)
        assert [node.operation.name for node in nodes] == ["hidden", "relu", "sum"]
        assert nodes[0].input_tensors[0] is model.inputs[0]
        assert nodes[-1].outputs[0] is model.outputs[0]
        assert len(nodes[-1].arguments.args) == 1
        assert nodes[-1].arguments.kwargs == {}
        tensors = compat.graph_tensors(model)
        assert {id(tensor) for tensor in tensors} == {
            id(tensor) for tensor in (*model.inputs, *(tensor for node in nodes for tensor in node.outputs))
        }

    def test_producers_and_calls(self, model):
        (node,) = compat.calls(model.get_layer("sum"))
        assert compat.producer_node(model.outputs[0]) is node
        assert compat.producer(model.outputs[0]) is model.get_layer("sum")
        assert compat.producer(model.inputs[0]).name == "in"
        model.get_layer("hidden")(keras.Input((4,)))
        assert len(compat.calls(model.get_layer("hidden"))) == 2

    def test_inputs_and_outputs(self, model):
        values = compat.input_standardizer(model)(np.ones(4, "float32").reshape(4, 1).T)
        assert [tuple(value.shape) for value in values] == [(1, 4)]
        structure = compat.output_structure(model)
        assert keras.tree.pack_sequence_as(structure, [7]) == {"y": 7}


@pytest.mark.backend
class TestTraining:
    @pytest.fixture
    def model(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01), loss="mse")
        return model

    x, y = np.ones((8, 4), "float32"), np.zeros((8, 2), "float32")

    def test_optimizer_methods(self, model):
        called = []
        for name in (compat.UPDATE_STEP, compat.APPLY_DECAY):
            stock = getattr(model.optimizer, name)
            replacement = lambda *args, name=name, stock=stock: (called.append((name, len(args))), stock(*args))[1]  # noqa: E731
            compat.replace_method(model.optimizer, name, replacement)
        model.fit(self.x, self.y, verbose=0, batch_size=8)
        assert set(called) == {(compat.UPDATE_STEP, 3), (compat.APPLY_DECAY, 1)}

    def test_updated_variables(self, model):
        assert compat.updated_variables(model.optimizer) == []
        model.fit(self.x, self.y, verbose=0)
        found = compat.updated_variables(model.optimizer)
        assert [id(variable) for variable in found] == [id(variable) for variable in model.trainable_variables]

    def test_loss_tracker(self, model):
        logs = model.fit(self.x, self.y, verbose=0, batch_size=8).history
        assert float(compat.loss_tracker(model).result()) == pytest.approx(logs["loss"][-1])

    def test_model_of_a_callback(self, model):
        callback = keras.callbacks.Callback()
        callback.set_model(model)
        assert compat.model_of(callback) is model

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of tensorflow")
    def test_a_model_of_a_strategy(self):
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
        with strategy.scope():
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
            model.compile("sgd", "mse")
        assert model.distribute_strategy is strategy
        called = []
        compat.replace_method(model.optimizer, compat.ADD_GRADIENTS, lambda pairs: called.append(len(pairs)) or pairs)
        model.fit(self.x, self.y, verbose=0)
        assert set(called) == {2}
        compat.forget_strategy(model)
        assert model.distribute_strategy is not strategy

    @on_jax
    def test_jax_training_state(self, model):
        seen = []

        class Look(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                state = compat.jax_training_state(compat.model_of(self))
                seen.append((set(state), [tuple(v.shape) for v in state["trainable_variables"]]))

        model.fit(self.x, self.y, verbose=0, callbacks=[Look()])
        kinds = {"trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables"}
        assert seen == [(kinds, [(4, 2), (2,)])]
        assert compat.jax_training_state(model) is None

    @on_jax
    def test_stateless_metrics_update(self, model):
        model.fit(self.x, self.y, verbose=0)
        before = [variable.value for variable in model.metrics_variables]
        logs, after = compat.stateless_metrics_update(model)(before, 1.0, self.x, self.y, self.y, None)
        assert "loss" in logs
        assert len(after) == len(before)

    @pytest.mark.skipif(keras.backend.backend() == "jax", reason="see test_jax_training_state")
    def test_no_training_state_elsewhere(self, model):
        assert compat.jax_training_state(model) is None


@on_torch
@pytest.mark.backend
class TestTorch:
    @pytest.fixture
    def names(self):
        from keras_transfer.keras_compat import torch as names

        return names

    def test_functional(self, names):
        inputs = keras.Input((2,))
        assert type(keras.Model(inputs, keras.layers.Dense(1)(inputs))) is names.Functional

    @pytest.mark.parametrize("amsgrad", [False, True])
    @pytest.mark.parametrize("kind", ["Adam", "AdamW"])
    def test_adam(self, names, kind, amsgrad):
        optimizer = getattr(keras.optimizers, kind)(amsgrad=amsgrad)
        assert type(optimizer) in names.ADAMS
        assert callable(getattr(type(optimizer), names.PARALLEL_UPDATE))
        variables = [keras.Variable(np.zeros(shape, "float32")) for shape in ((2, 3), (5,))]
        optimizer.build(variables)
        called = []
        compat.replace_method(optimizer, names.PARALLEL_UPDATE, lambda *args: called.append(args))
        gradients = [keras.ops.ones(variable.shape) for variable in variables]
        optimizer.apply(gradients, variables)
        ((grads, updated, rate),) = called
        assert [id(v) for v in updated] == [id(v) for v in variables]
        assert len(grads) == 2
        assert float(rate) == pytest.approx(0.001)
        first, second, largest = names.adam_slots(optimizer, variables)
        assert [slot.shape for slot in first] == [slot.shape for slot in second] == [(2, 3), (5,)]
        assert len(largest) == (2 if amsgrad else 0)

    def test_sgd(self, names):
        optimizer = keras.optimizers.SGD(momentum=0.9, weight_decay=0.1)
        assert type(optimizer) is names.SGD
        assert callable(getattr(type(optimizer), names.PARALLEL_UPDATE))
        variables = [keras.Variable(np.zeros(shape, "float32")) for shape in ((2, 3), (5,))]
        optimizer.exclude_from_weight_decay(var_list=variables[1:])
        optimizer.build(variables)
        assert [slot.shape for slot in names.momentum_slots(optimizer, variables)] == [(2, 3), (5,)]
        assert names.decayed(optimizer, variables) == variables[:1]

    def test_variables(self, names):
        import torch

        variable = keras.Variable(np.ones(3, "float32"))
        assert isinstance(names.raw_value(variable), torch.Tensor)
        assert names.raw_value(variable) is variable.value
        assert names.autocasts(variable) is True
        assert names.autocasts(keras.Variable(np.ones(3, "float32"), autocast=False)) is False

    def test_base_kernel(self, names):
        layer = keras.layers.Conv2D(2, 1)
        layer.build((None, 4, 4, 3))
        assert names.base_kernel(layer) is layer.kernel
        layer.enable_lora(1)
        assert names.base_kernel(layer) is not layer.kernel
        assert tuple(names.base_kernel(layer).shape) == (1, 1, 3, 2)

    def test_masks(self, names):
        masked = keras.layers.Masking()(np.zeros((1, 2, 3), "float32"))
        assert names.get_mask(masked) is not None
        assert names.get_mask(keras.ops.ones(2)) is None

    def test_scopes_and_devices(self, names):
        import torch

        assert str(names.get_device()).split(":")[0] in ("cpu", "cuda", "mps")
        with keras.device("meta"):
            assert str(names.get_device()) == "meta"
        assert not names.in_stateless_scope()
        with keras.StatelessScope():
            assert names.in_stateless_scope()
        assert names.to_torch_dtype("bfloat16") is torch.bfloat16
        assert compat.torch_device() == str(names.get_device())


@pytest.mark.exhaustive
def test_tensorflow_is_kept_out():
    code = (
        "import sys, keras; from keras_transfer import keras_compat; keras_compat.keep_tensorflow_out();"
        "from keras.src.utils.module_utils import tensorflow; print(tensorflow.available, 'tensorflow' in sys.modules)"
    )
    backend = "torch" if TORCH else "jax"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["False", "False"]


def test_these_are_the_known_releases():
    """After an upgrade of Keras: if all other tests here pass, add the release to `KNOWN_FOR`."""
    assert ".".join(keras.__version__.split(".")[:2]) in compat.KNOWN_FOR


@on_torch
@pytest.mark.slow
def test_the_compiler_of_torch_is_imported_when_something_compiles():
    code = """
import sys
from keras_transfer import runtime
runtime.activate("torch")
import keras, torch
assert "torch._dynamo" not in sys.modules
before = keras.random.normal((3,), seed=keras.random.SeedGenerator(1))
assert "torch._dynamo" not in sys.modules
generator = keras.random.SeedGenerator(1)
compiled = torch.compile(lambda x: x + keras.random.normal((3,), seed=generator), backend="eager")
assert torch.equal(compiled(torch.zeros(3)), before)
assert sys.modules["torch._dynamo"].__file__ and torch._dynamo is sys.modules["torch._dynamo"]
from keras_transfer.keras_compat.dynamo import dynamo_later
with dynamo_later():  # what is there stays
    assert sys.modules["torch._dynamo"].__file__
del sys.modules["torch._dynamo"]
with dynamo_later():
    assert callable(sys.modules["torch._dynamo"].disable()(len)) and not hasattr(sys.modules["torch._dynamo"], "__file__")
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
