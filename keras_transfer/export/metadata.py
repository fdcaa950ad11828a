"""The metadata of an exported file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from keras_transfer.evaluation.tasks import is_multi, thresholds_of

INPUT, OUTPUT, NOVELTY = "image", "logits", "novelty"
_KEPT = ("classes", "image_size", "color", "resize", "backbone", "depth", "licence", "task", "thresholds", "novelty")


def export_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an exported file, from those of the model file.

    ``classes`` (names in logit order), ``image_size`` [height, width], ``color``, ``resize``, ``backbone`` and
    ``licence`` (of the backbone's weights) as in the model file, ``novelty`` of a model that rejects, and descriptions of ``input`` and
    ``output``. Of several labels per image also ``task`` and ``thresholds``, a probability for each label.
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
    if metadata.get(NOVELTY):
        kept["second_output"] = "novelty, float32 (batch, 1); above 0: none of the classes"
    return kept


def output_names(model: Any) -> list[str]:
    """Return the names of a model's outputs in an exported file: the logits, and the novelty of a model that rejects."""
    return [OUTPUT, NOVELTY][: len(model.outputs)]


def as_json(value: Any) -> str:
    """Return JSON text that keeps letters of any alphabet."""
    return json.dumps(value, ensure_ascii=False)
