"""Verify an exported file: run it in its own runtime and compare its logits with the model's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 32
AGREEMENT = {"float32": 1.0, "float16": 0.99, "int8": 0.98}
"""Minimum share of images with the same predicted class as the model's, or of equal decisions about several labels."""
_TIE = 1e-3  # logits as close as this to a threshold may be decided either way


def verify(
    run: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    expected: np.ndarray,
    precision: str,
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Run an exported file on images and compare its logits with the model's.

    The first batch has 1 image, the others 32, so that a file with a fixed batch size fails here.

    Args:
        run: function from float32 (b, height, width, channels) to logits (b, C).
        images: float32 (n, height, width, channels).
        expected: float32 (n, C), the model's logits.
        precision: of the file; decides the label agreement required.
        thresholds: of several labels per image, (C,); None: the label is the largest logit.

    Returns:
        ``max_difference`` and ``mean_difference`` of the logits, ``label_agreement`` 0..1, ``agrees``, and
        ``images_per_second`` of all batches but the first.
    """
    first, *rest = np.split(images, range(1, len(images), BATCH))
    found = [run(first)]
    start = time.perf_counter()
    found += [run(np.ascontiguousarray(batch)) for batch in rest]
    seconds = time.perf_counter() - start
    logits = np.concatenate(found).astype(np.float32)
    if logits.shape != expected.shape:
        raise RuntimeError(f"the exported file returns logits of shape {logits.shape}, the model {expected.shape}")
    difference = np.abs(logits - expected)
    agreement = _agreement(logits, expected, thresholds)
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "label_agreement": agreement,
        "agrees": bool(np.isfinite(logits).all()) and agreement >= AGREEMENT[precision],
        "images_per_second": (len(images) - 1) / seconds if rest else None,
    }


def _agreement(logits: np.ndarray, expected: np.ndarray, thresholds: np.ndarray | None) -> float:
    """Return the share of equal decisions: the predicted class, or whether an image has each of several labels."""
    if thresholds is None:
        return float(np.mean(logits.argmax(-1) == expected.argmax(-1)))
    inside = np.clip(thresholds, 1e-12, 1 - 1e-12)
    limits = np.log(inside) - np.log1p(-inside)
    same = (logits >= limits) == (expected >= limits)
    return float(np.mean(same | (np.abs(expected - limits) < _TIE)))


def compare_novelty(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, expected: np.ndarray
) -> dict[str, Any]:
    """Compare the novelty of an exported file with the model's.

    Args:
        run: function from float32 (b, height, width, channels) to novelty (b, 1).
        images: float32 (n, height, width, channels).
        expected: float (n,), the model's.

    Returns:
        ``novelty_max_difference``, relative to the largest novelty (at least 1), and ``novelty_agreement``: the share of images that both reject or both accept.
    """
    parts = [run(np.ascontiguousarray(part)) for part in np.split(images, range(BATCH, len(images), BATCH))]
    found = np.concatenate(parts).astype(np.float32).reshape(-1)
    return {
        "novelty_max_difference": float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())),
        "novelty_agreement": float(np.mean((found > 0) == (expected > 0))),
    }
