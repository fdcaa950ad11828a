"""What a model that rejects makes of the images of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["apart", "novelty_metrics", "scored"]

BINS = 30
SHOWN = 12


def novelty_metrics(novelty: np.ndarray, rate: float) -> dict[str, Any]:
    """Summarize the novelty of images of known classes.

    Args:
        novelty: float (n,), finite; above 0 an image is rejected.
        rate: the false-alarm rate that was asked for.

    Returns:
        A JSON-serializable dictionary: ``rate``; ``rejected``, the share above 0; ``histogram`` with ``edges`` and ``counts``; and
        ``highest``, the positions and values of the most unusual images.
    """
    counts, edges = np.histogram(novelty, BINS)
    highest = np.argsort(-novelty, kind="stable")[:SHOWN]
    return {
        "rate": float(rate),
        "rejected": float(np.mean(novelty > 0)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "highest": [[int(i), float(novelty[i])] for i in highest],
    }


def apart(rows: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Divide what a model computed, (…, C) or (…, C + 1), into logits (…, C) and novelty (…,) or None."""
    return rows[..., :classes], rows[..., classes] if rows.shape[-1] == classes + 1 else None


def scored(model: Any, metadata: Mapping[str, Any]) -> Any:
    """Return what computes logits and novelty as one row, where a model has both; an engine computes all that it can anyway."""
    if not metadata.get("novelty") or not hasattr(model, "layers"):
        return model
    from keras_transfer.models.novelty import joined

    return joined(model, metadata)
