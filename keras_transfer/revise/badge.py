"""Which pictures are worth a label: uncertain ones that differ from each other."""

from __future__ import annotations

import numpy as np

from keras_transfer.errors import UserError


def badge(features: np.ndarray, probabilities: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Choose pictures by BADGE (Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds", ICLR 2020).

    The gradient of the last layer's loss, if the predicted class were right, is long where the model is uncertain, and points elsewhere
    for other pictures. Pictures are drawn one after the other, each with a probability in proportion to the squared distance of its
    gradient to the nearest one chosen (k-means++).

    Args:
        features: float (n, d), what the last layer reads.
        probabilities: float (n, C), rows sum to 1.
        count: how many to choose, at least 1; all, where there are fewer.
        seed: of the draws.

    Returns:
        int64 (min(n, count),), in the order in which they were chosen, no picture twice.

    Raises:
        UserError: shapes that do not fit, or a count below 1.
    """
    rows, shares = np.asarray(features, np.float64), np.asarray(probabilities, np.float64)
    if rows.ndim != 2 or shares.ndim != 2 or len(rows) != len(shares):
        raise UserError(f"expected features (n, d) and probabilities (n, C), got {rows.shape} and {shares.shape}")
    if count < 1:
        raise UserError(f"count: expected at least 1, got {count}")
    # The gradient is the outer product of the error and the features, so scalar products are products of scalar products.
    errors = shares.copy()
    errors[np.arange(len(rows)), shares.argmax(axis=1) if len(rows) else []] -= 1
    lengths = np.square(errors).sum(axis=1) * np.square(rows).sum(axis=1)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    nearest = lengths.copy()  # the first: the longest gradient, as in the paper's program
    while len(chosen) < min(count, len(rows)):
        free = np.ones(len(rows), bool)
        free[chosen] = False
        weights = np.where(free, nearest, 0)
        if not chosen:
            place = int(weights.argmax())
        elif weights.sum() > 0:
            place = int(rng.choice(len(rows), p=weights / weights.sum()))
        else:  # only copies of what was chosen are left
            place = int(np.flatnonzero(free)[0])
        chosen.append(place)
        products = (errors @ errors[place]) * (rows @ rows[place])
        distances = np.maximum(lengths + lengths[place] - 2 * products, 0)
        nearest = distances if len(chosen) == 1 else np.minimum(nearest, distances)
    return np.array(chosen, np.int64)
