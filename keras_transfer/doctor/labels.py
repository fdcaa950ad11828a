"""Likely label errors, found by a trained model."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.dataset import Split
from keras_transfer.data.samples import SampleTable


def label_errors(model: Any, metadata: dict[str, Any], samples: SampleTable, judged: np.ndarray) -> list[Finding]:
    """Find labels that the model confidently disagrees with, the most confident first.

    Args:
        model: raw images (b, h, w, c) → logits (b, C).
        metadata: of the model; its ``classes`` include those of ``samples``.
        samples: the data set.
        judged: int64 (n,), indices of readable samples that the model was not trained on: it may have memorised others.
    """
    from keras_transfer.evaluation.evaluate import predict_logits
    from keras_transfer.evaluation.label_errors import likely_label_errors
    from keras_transfer.inference import transform_of

    if not len(judged):
        return [Finding("likely label errors", "note", "not checked: the model was trained on every image")]
    if samples.is_multi:
        return [Finding("likely label errors", "note", "not checked yet where an image may have several labels")]
    images = Split("judged", samples, judged)
    logits = predict_logits(model, images, transform_of(metadata))
    index = {name: i for i, name in enumerate(metadata["classes"])}
    labels = np.array([index[samples.classes[label]] for label in images.labels], np.int64)
    suspects = likely_label_errors(logits, labels)
    if not len(suspects):
        return []
    first = metadata["classes"][int(logits[suspects[0]].argmax())]
    name = images.image_name(int(suspects[0]))
    message = f"{len(suspects)} of {len(judged)} images not trained on, e.g. {name}, which may be {first}"
    return [Finding("likely label errors", "warning", message, tuple((int(judged[i]),) for i in suspects))]
