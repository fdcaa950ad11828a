"""An artefact in its own runtime beside the model that it was made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 32
AGREEMENT = {"float32": 1.0, "float16": 0.99, "int8": 0.98}
"""Share of images with the same label as the model's that an artefact must reach."""


def compare(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, expected: np.ndarray, precision: str
) -> dict[str, Any]:
    """Run an artefact on images and compare its logits.

    The batches have 1, 32 and what is left, so that an artefact with a fixed batch size fails here.

    Args:
        run: float32 (b, height, width, channels) to logits (b, C).
        images: float32 (n, height, width, channels).
        expected: float32 (n, C), the model's logits.
        precision: of the artefact; says how many labels must agree.

    Returns:
        ``max_difference`` and ``mean_difference`` of logits, ``label_agreement`` from 0 to 1, ``agrees``, and
        ``images_per_second`` of the batches after the first.
    """
    first, *rest = np.split(images, range(1, len(images), BATCH))
    found = [run(first)]
    start = time.perf_counter()
    found += [run(np.ascontiguousarray(batch)) for batch in rest]
    seconds = time.perf_counter() - start
    logits = np.concatenate(found).astype(np.float32)
    if logits.shape != expected.shape:
        raise RuntimeError(f"the artefact gives logits {logits.shape}, the model {expected.shape}")
    difference = np.abs(logits - expected)
    agreement = float(np.mean(logits.argmax(-1) == expected.argmax(-1)))
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "label_agreement": agreement,
        "agrees": bool(np.isfinite(logits).all()) and agreement >= AGREEMENT[precision],
        "images_per_second": (len(images) - 1) / seconds if rest else None,
    }
