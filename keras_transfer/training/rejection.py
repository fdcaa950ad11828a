"""Calibrate "none of these": choose the threshold of novelty on images that the model was not made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.models.novelty import attach, features_model
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.novelty import Novelty, Subspace, energy_of, held_out_residuals, residual_folds

Compute = Callable[[keras.Model, Split], np.ndarray]
"""Returns what a model computes for the images of a split, float32 (n, …)."""


def calibrate(
    model: keras.Model,
    data: Dataset,
    rate: float,
    compute: Compute,
    out_of_fold: np.ndarray | None,
    outcomes: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Give a trained classifier the layers that compute novelty, with a threshold for a false-alarm rate.

    The threshold is chosen on validation images; without any, on the training images, each judged by models that were made without it:
    with the heads of cross-validation where the head alone was trained, with the networks of the folds where they were fine-tuned.

    Args:
        model: a classifier; :func:`~keras_transfer.models.novelty.attach` changes its graph, not its output.
        data: that it was trained on.
        rate: share of images of the known classes that may be rejected.
        compute: evaluates a model on images.
        out_of_fold: logits of the training images by models made without them, float (n, C), or None.
        outcomes: of the phases; those with folds hold ``residuals``.

    Returns:
        What the model file says about it, JSON-able: ``rate``, ``calibrated_on``, ``images``.

    Raises:
        UserError: neither validation images nor out-of-fold predictions, too few images for the rate, or features that are not finite.
    """
    reader = features_model(model)
    features = compute(reader, data.train)
    subspace = Subspace.of(features)
    if len(data.val):
        kind = "validation images"
        energies, residuals = energy_of(compute(model, data.val)), subspace.residual(compute(reader, data.val))
    elif out_of_fold is not None and len(out_of_fold):
        kind = "training images, out of fold"
        energies, residuals = _out_of_fold(features, data.train, out_of_fold, outcomes)
    else:
        raise UserError(
            "reject_rate is calibrated on validation images or on out-of-fold predictions, and there are neither: "
            "set data.val_fraction above 0"
        )
    novelty = Novelty.calibrate(subspace, energies, residuals, rate)
    attach(model, novelty)
    return {"rate": float(rate), "calibrated_on": kind, "images": novelty.images}


def _out_of_fold(
    features: np.ndarray, split: Split, logits: np.ndarray, outcomes: Sequence[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return energies and residuals of the training images that were held out of everything."""
    energies = energy_of(logits)
    tuned = [one["residuals"] for one in outcomes if one.get("accepted") and one.get("residuals")]
    if tuned:
        residuals = np.array([np.nan if value is None else value for value in tuned[-1]], np.float64)
    else:
        folds = folds_of(split.labels, features, split.groups, residual_folds(len(features)))[0]
        residuals = held_out_residuals(features, folds)
    known = np.isfinite(residuals)
    return energies[known], residuals[known]
