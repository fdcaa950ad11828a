"""The metadata of an exported file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from keras_transfer.evaluation.tasks import is_multi, thresholds_of

INPUT, OUTPUT = "image", "logits"
_KEPT = ("classes", "image_size", "color", "resize", "backbone", "depth", "licence", "task", "thresholds")


def export_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an exported file, from those of the model file.

    ``classes`` (names in logit order), ``image_size`` [height, width], ``color``, ``resize``, ``backbone`` and
    ``licence`` (of the backbone's weights) as in the model file, and descriptions of ``input`` and ``output``. Of several labels per image
    also ``task`` and ``thresholds``, a probability for each label.
    """
    channels = "grey" if metadata["color"] == "grey" else "RGB"
    kept = {key: metadata[key] for key in _KEPT if key in metadata}
    kept["input"] = f"{channels} pixels 0..255, float32 (batch, height, width, channels)"
    kept["output"] = "logits, float32 (batch, classes); apply softmax for probabilities"
    if is_multi(metadata):
        kept["output"] = (
            "logits, float32 (batch, labels); apply sigmoid for probabilities; an image has the labels from thresholds on"
        )
        kept["thresholds"] = thresholds_of(metadata).tolist()
    return kept


def as_json(value: Any) -> str:
    """Return JSON text that keeps letters of any alphabet."""
    return json.dumps(value, ensure_ascii=False)
