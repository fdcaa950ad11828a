"""PyTorch's ExportedProgram (.pt2): runs in torch without Keras."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

METADATA = "metadata.json"


def write(model: Any, path: Path, metadata: dict[str, str], precision: str, images: np.ndarray) -> None:
    """Write ``model`` as a program of ATen operations; see :mod:`keras_transfer.export.formats`."""
    import torch

    text = json.dumps({key: json.loads(value) for key, value in metadata.items()}, ensure_ascii=False)
    file = io.BytesIO()  # torch's own writer ends the process, without a chance to say so, where the disk is full
    torch.export.save(trace(model), file, extra_files={METADATA: text})
    path.write_bytes(file.getbuffer())


def trace(model: Any) -> Any:
    """Return the model's inference as an ``ExportedProgram`` of one input ``image``, with any number of images."""
    import torch

    class Inference(torch.nn.Module):  # the model is no part of it: its weights are traced, and would be kept twice
        def forward(self, image: Any) -> Any:
            return model(image, training=False)

    example = torch.zeros((2, *model.input_shape[1:]))
    with torch.no_grad():
        return torch.export.export(Inference().eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def open_file(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load the program."""
    import torch

    program = torch.export.load(str(path)).module()

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return program(torch.from_numpy(images)).numpy()

    return logits
