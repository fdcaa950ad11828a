"""The mirror probe: does a horizontal flip leave these images as they could have been taken?

A flip is the cheapest augmentation for photographs and spoils signs, letters and digits. Instead of guessing from the
look of the images, ask the data: if a linear model, knowing the class, can tell unseen images from their own mirror
images, then mirrored images are not of the same kind. For photographs it cannot (a share of about one half).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transfer.data.augment import Transform
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.loading.loader import Loader
from keras_transfer.stratify import is_multi

MOST_PICTURES = 300
LEAST_OF_A_CLASS = 10
FOLDS = 5
# Measured: photographs 0.50 to 0.53, clothes 0.61, digits 0.76 to 0.81 (docs/defaults.md).
TELLING = 0.60


def mirror_probe(data: Dataset, features: keras.Model, resize: str, seed: int) -> tuple[bool, str]:
    """Say whether a horizontal flip suits this data's images.

    Args:
        data: opened data set; only training images are used.
        features: images (batch, height, width, channels) to frozen features (batch, n).
        resize: how images are fitted to the size.
        seed: chooses the images and the folds.

    Returns:
        The answer, and the figures behind it in words.
    """
    height, width, channels = features.input_shape[1:]
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:MOST_PICTURES]
    split = data.train.take(np.sort(chosen))
    with Loader(
        split, Transform((height, width), [], resize, "grey" if channels == 1 else "rgb"), 32, with_labels=False
    ) as loader:
        images = np.concatenate([np.asarray(batch) for batch in loader.epoch()])
    plain, mirrored = _embed(features, images), _embed(features, np.ascontiguousarray(images[:, :, ::-1]))
    share, count = told_apart(plain, mirrored, split.labels, seed)
    if count < LEAST_OF_A_CLASS:
        return False, "too few images a class to find out whether a flip keeps them what they are"
    return share < TELLING, (
        f"a linear probe tells {share:.0%} of {count} images from their mirror images: "
        f"flips {'keep' if share < TELLING else 'change'} what they show"
    )


def told_apart(plain: np.ndarray, mirrored: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, int]:
    """Measure how well images and mirror images are told apart within a class, by features not used for fitting.

    Args:
        plain: float (n, features) of the images.
        mirrored: the same of their mirror images.
        labels: int (n,), or 0 and 1 (n, C): several labels for an image.
        seed: of the folds.

    Returns:
        The share of images that score above their own mirror image (0.5 is chance), and how many were judged.
    """
    wins = total = 0
    each = labels.T > 0 if is_multi(labels) else [labels == label for label in np.unique(labels)]
    for members in map(np.flatnonzero, each):
        if len(members) < LEAST_OF_A_CLASS:
            continue
        order = np.random.default_rng(seed).permutation(members)
        for fold in np.array_split(order, FOLDS):
            rest = np.setdiff1d(order, fold)
            weights = _ridge(plain[rest], mirrored[rest])
            wins += int(np.sum((plain[fold] - mirrored[fold]) @ weights > 0))
            total += len(fold)
    return (wins / total if total else 0.5), total


def _ridge(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return ridge-regression weights (penalty 1) that score ``positive`` rows 1 and ``negative`` rows -1."""
    rows = np.concatenate([positive, negative])
    mean, std = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    scale = std * np.sqrt(rows.shape[1])
    x = (rows - mean) / scale
    y = np.concatenate([np.ones(len(positive)), -np.ones(len(negative))])
    # The dual form: as many equations as images, not as features.
    return np.asarray(x.T @ np.linalg.solve(x @ x.T + np.eye(len(x)), y) / scale)


def _embed(features: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(features.predict(images, batch_size=min(32, len(images)), verbose=0), np.float64)


def feature_model(
    backbone: str, weights: str, image_size: tuple[int, int], color: str, stem: str = "keep"
) -> keras.Model:
    """Build the model from images to pooled frozen features that the probe looks at."""
    from keras_transfer.engine.native import install
    from keras_transfer.models.classifier import build_classifier

    channels = 1 if color == "grey" else 3
    model = build_classifier(backbone, 2, image_size=image_size, channels=channels, weights=weights, stem=stem)
    install(model)
    return keras.Model(model.inputs[0], model.get_layer("pool").output)
