"""Walk a model and install or remove native operations."""

from __future__ import annotations

import keras

from keras_transfer.engine.report import Report
from keras_transfer.engine.torch_native import graph as graphs
from keras_transfer.engine.torch_native import optimizers
from keras_transfer.engine.torch_native.layers import OPERATIONS, install_layer, remove_layer
from keras_transfer.keras_compat import layers_and_graphs


def on_cpu(model: keras.Model) -> bool:
    """Return whether the variables of ``model`` are in main memory."""
    return all(v.value.device.type == "cpu" for v in model.variables)


def install_model(model: keras.Model, report: Report, graph: bool) -> None:
    """Install on every supported layer and functional graph of ``model`` and on its optimizer; fill in ``report``."""
    optimizers.install_trainer(model)
    layers = list(layers_and_graphs(model))
    for layer in layers:
        if type(layer) not in OPERATIONS:
            continue
        reason = install_layer(layer)
        if reason is None:
            report.patched.setdefault(type(layer).__name__, []).append(layer.name)
        else:
            report.left_alone.append((layer.name, reason))
    for layer in layers:
        if graph:
            report.fused.update(graphs.install_graph(layer))
        else:
            graphs.remove_graph(layer)


def remove_model(model: keras.Model) -> int:
    """Remove every native operation and graph of ``model``; return the number of layers that had one."""
    optimizers.remove_trainer(model)
    removed = 0
    for layer in layers_and_graphs(model):
        graphs.remove_graph(layer)
        removed += remove_layer(layer)
    return removed
