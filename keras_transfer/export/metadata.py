"""What is written into every artefact beside the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

INPUT, OUTPUT = "image", "logits"
_KEPT = ("classes", "image_size", "color", "resize", "backbone")


def artefact_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return a model's metadata for an artefact: key → JSON text.

    ``classes`` (names in the order of the logits), ``image_size`` [height, width], ``color``, ``resize`` and
    ``backbone`` as in the model file, and what goes ``input`` and comes ``output``.
    """
    channels = "grey" if metadata["color"] == "grey" else "RGB"
    kept = {key: metadata[key] for key in _KEPT if key in metadata}
    kept["input"] = f"{channels} pixels 0..255, float32 (batch, height, width, channels)"
    kept["output"] = "logits, float32 (batch, classes); their softmax are probabilities"
    return {key: json.dumps(value, ensure_ascii=False) for key, value in kept.items()}
