"""Private names of Keras that this package reads or replaces, each behind a public name.

Keras may change them in any release. All of them are known to hold for :data:`KNOWN_FOR`; ``tests/test_keras_compat.py`` has
a test for each, and no other module may use them. The names of Keras's torch backend are in
:mod:`keras_transfer.keras_compat.torch`. Importing this module imports neither Keras nor a framework.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

KNOWN_FOR = ("3.15",)
"""Keras releases (major.minor) that the names in this package were checked with."""

# === Layers ===


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return a layer and all its sublayers, parents before their children."""
    return layer._flatten_layers()


def layers_and_graphs(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield :func:`all_layers`, and the functional graph that each built ``Sequential`` holds and does not track."""
    import keras

    for layer in all_layers(model):
        yield layer
        if isinstance(layer, keras.Sequential) and layer._functional is not None:
            yield layer._functional


def replace_method(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Put ``replacement`` in front of the method ``name`` of one layer, model or optimizer.

    It is stored in the instance's ``__dict__``, where it hides the method of the class. ``setattr`` would have Keras track
    the replacement as a sublayer, or search it for variables.
    """
    owner.__dict__[name] = replacement


def replaced_method(owner: Any, name: str) -> Any:
    """Return what :func:`replace_method` stored, or ``None``."""
    return getattr(owner, "__dict__", {}).get(name)


def restore_method(owner: Any, name: str) -> None:
    """Give ``owner`` the method of its class back."""
    owner.__dict__.pop(name, None)


def recomputes(layer: keras.layers.Layer) -> bool:
    """Return whether the layer computes its activations again in the backward pass (rematerialization)."""
    return layer._remat_mode is not None


def takes_training(operation: Any) -> bool:
    """Return whether an operation can be called with ``training=``: layers can, bare operations cannot."""
    return "training" in getattr(operation, "_call_context_args", ())


def snake_case(name: str) -> str:
    """Return the layer name that Keras derives from a class name: ``Conv2D`` → ``conv2d``, ``ReLU`` → ``re_lu``."""
    from keras.src.utils.naming import to_snake_case

    return to_snake_case(name)


def set_trainable(layer: keras.layers.Layer, trainable: bool) -> None:
    """Set ``layer.trainable`` for the layer and all of its variables.

    On TensorFlow, assigning the value that an attribute already has does nothing, so that a variable with another flag would keep it.
    """
    layer.trainable = not trainable
    layer.trainable = trainable


# === Low-rank adapters ===


def kernel_variable(layer: keras.layers.Layer) -> keras.Variable:
    """Return the kernel of a built ``Dense`` or ``EinsumDense``; ``layer.kernel`` has its adapter added."""
    return layer._kernel


def remove_adapter(layer: keras.layers.Layer) -> None:
    """Undo ``layer.enable_lora`` without merging: the kernel is what it was; that it does not train is left as it is."""
    import keras

    for name in ("lora_kernel_a", "lora_kernel_b"):
        layer._untrack_variable(getattr(layer, name))
        super(keras.layers.Layer, layer).__delattr__(name)  # Keras's own collects garbage each time
    layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None


# === Functional graphs ===


def has_graph(model: Any) -> bool:
    """Return whether ``model`` is a functional model (a subclassed or unbuilt one has no graph)."""
    return hasattr(model, "_nodes_by_depth")


def graph_nodes(model: keras.Model) -> list[Any]:
    """Return the nodes of a functional model in the order in which Keras computes them, without the input nodes.

    A node is one call of an operation: ``operation``, ``input_tensors``, ``outputs``, ``arguments``.
    """
    model = getattr(model, "_functional", None) or model  # a Sequential has one inside
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]


def graph_tensors(model: keras.Model) -> list[keras.KerasTensor]:
    """Return every tensor of a functional model, the inputs included."""
    return [tensor for nodes in model._nodes_by_depth.values() for node in nodes for tensor in node.outputs]


def calls(operation: Any) -> Sequence[Any]:
    """Return the nodes of all calls of an operation on symbolic tensors, in whatever model."""
    return operation._inbound_nodes


def consumers(tensor: keras.KerasTensor) -> list[Any]:
    """Return the nodes of all calls that take the output of the operation that made a symbolic tensor, in whatever model."""
    return list(producer(tensor)._outbound_nodes)


def producer(tensor: keras.KerasTensor) -> Any:
    """Return the operation that made a symbolic tensor."""
    return tensor._keras_history.operation


def producer_node(tensor: keras.KerasTensor) -> Any:
    """Return the node, i.e. the call, that made a symbolic tensor."""
    history = tensor._keras_history
    return calls(history.operation)[history.node_index]


def plain_attention(node: Any) -> float | None:
    """Return the scale of a call of ``keras.ops.dot_product_attention`` on query, key, value and perhaps a bias; None of others."""
    from keras.src.ops.nn import DotProductAttention

    operation, args, kwargs = node.operation, node.arguments.args, dict(node.arguments.kwargs)
    if type(operation) is not DotProductAttention or operation.is_causal or operation.attn_logits_soft_cap:
        return None
    kwargs.update(zip(("query", "key", "value", "bias", "mask", "scale"), args))
    present = [kwargs.get(name) for name in ("query", "key", "value", "bias") if kwargs.get(name) is not None]
    tensors = len(present) == len(node.input_tensors) and all(a is b for a, b in zip(present, node.input_tensors))
    if kwargs.get("mask") is not None or not tensors:
        return None
    scale = kwargs.get("scale")
    return float(kwargs["query"].shape[-1] ** -0.5 if scale is None else scale)


def input_standardizer(model: keras.Model) -> Callable[[Any], list[Any]]:
    """Return what brings the inputs of a functional model into a flat list of the expected ranks and dtypes."""
    return model._standardize_inputs


def output_structure(model: keras.Model) -> Any:
    """Return the nested structure of a functional model's outputs."""
    return model._outputs_struct


# === Training ===

UPDATE_STEP = "_backend_update_step"
"""Optimizer method (grads, variables, learning rate) that updates variables on any backend."""
APPLY_DECAY = "_apply_weight_decay"
"""Optimizer method (variables) that subtracts ``weight_decay`` times the learning rate."""


ADD_GRADIENTS = "_all_reduce_sum_gradients"
"""Optimizer method (pairs of gradient and variable) that adds gradients over the devices of tensorflow."""


def updated_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables that an optimizer was built for, in the order of its slots; none before it is built."""
    return getattr(optimizer, "_trainable_variables", [])


def loss_tracker(model: keras.Model) -> keras.metrics.Metric:
    """Return the metric behind ``loss`` in the logs of a compiled model."""
    return model._loss_tracker


def stateless_metrics_update(model: keras.Model) -> Callable[..., tuple[dict[str, Any], list[Any]]]:
    """Return what the jax trainer updates metrics with: (metric values, loss, x, y, y_pred, sample_weight) → (logs, values)."""
    return model._update_metrics_variables


def model_of(callback: keras.callbacks.Callback) -> keras.Model:
    """Return the model of a callback without the work of ``callback.model``.

    On jax that property copies all arrays that ``fit`` holds back into the variables: as slow as a small step.
    """
    return callback._model


def jax_training_state(model: keras.Model) -> Mapping[str, Any] | None:
    """Return the arrays that ``fit`` holds on jax in the middle of an epoch, or ``None`` where the variables are current.

    Keys: ``trainable_variables``, ``non_trainable_variables``, ``optimizer_variables``, ``metrics_variables``.
    """
    state = getattr(model, "_jax_state", None)
    return state if state and not model._jax_state_synced else None


def build_on_first_device(model: keras.Model) -> None:
    """Have ``fit``, in the scope of tensorflow's strategy, build metrics from the first device's share of a batch.

    Keras takes the mean of all shares, which fails where they differ in size.
    """

    def build(iterator: Any = None, data_batch: Any = None) -> None:
        strategy = model.distribute_strategy
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch = tuple(strategy.experimental_local_results(part)[0] for part in next(batches))
        with strategy.scope():
            model._symbolic_build(data_batch=data_batch)

    replace_method(model, "_maybe_symbolic_build", build)


def forget_strategy(model: keras.Model) -> None:
    """Have a model that was made in the scope of tensorflow's strategy compute on one device again."""
    if getattr(model, "_distribute_strategy", None) is not None:
        model._distribute_strategy = None
        restore_method(model, "_maybe_symbolic_build")


# === Process ===


def keep_tensorflow_out() -> None:
    """Have Keras, on another backend, use TensorFlow only if something else has imported it.

    Every serialization asks whether TensorFlow is available, to recognise its types, and Keras finds out by importing it:
    seconds, hundreds of megabytes and a page of log lines.
    """
    from keras.src.utils import module_utils

    class OnlyIfImported(type(module_utils.tensorflow)):  # type: ignore[misc]
        @property
        def available(self) -> bool:
            return "tensorflow" in sys.modules

    module_utils.tensorflow.__class__ = OnlyIfImported


def torch_device() -> str:
    """Return the device that Keras puts torch tensors on, such as ``"cpu"`` or ``"cuda"``."""
    from keras.src.backend.torch.core import get_device

    return str(get_device())
