"""PyTorch's ExportedProgram (.pt2): runs in torch without Keras."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.engine.constants import inference
from keras_transfer.export.metadata import NOVELTY, OUTPUT, as_json

METADATA = "metadata.json"


def write(model: Any, path: Path, metadata: dict[str, Any], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as a program of ATen operations; see :mod:`keras_transfer.export.formats`."""
    import torch

    file = io.BytesIO()  # on a full disk torch's own writer aborts the process
    torch.export.save(trace(model), file, extra_files={METADATA: as_json(metadata)})
    path.write_bytes(file.getbuffer())


def trace(model: Any) -> Any:
    """Return the model's inference as an ``ExportedProgram`` of one input ``image``, for any batch size."""
    import torch

    with torch.no_grad():
        compute = inference(model)

    class Inference(torch.nn.Module):  # the model is no submodule: its weights are traced, and would be stored twice
        def forward(self, image: Any) -> Any:
            return compute(image)

    example = torch.zeros((2, *model.input_shape[1:]))
    with torch.no_grad():
        program = torch.export.export(Inference().eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    _drop_casts(program.graph_module.graph)
    return program


def _drop_casts(graph: Any) -> None:
    """Remove casts to the type that a tensor has, which are most of what Keras leaves in a traced graph."""
    import torch

    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.target in (aten.to.dtype_layout, aten.to.dtype):
            source = node.args[0]
            same = (
                source.meta["val"].dtype == node.meta["val"].dtype
                and source.meta["val"].device == node.meta["val"].device
            )
            if same and not any(user.op == "output" for user in node.users):
                node.replace_all_uses_with(source)
                graph.erase_node(node)
    graph.owning_module.recompile()


def open_file(path: Path, output: str = OUTPUT) -> Callable[[np.ndarray], np.ndarray]:
    """Load the program; the function returns the output of that name."""
    import torch

    program = torch.export.load(str(path)).module()

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = program(torch.from_numpy(images))
            several = isinstance(found, (list, tuple))
            return (found[[OUTPUT, NOVELTY].index(output)] if several else found).numpy()

    return logits
