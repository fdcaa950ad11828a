"""The defaults of version 0.1, written out, so that they stay what they were when the defaults change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.statistics import DataStatistics

TOLD_APART = 0.60  # share of images that a linear model tells from their mirror images, from which there are no flips
IMAGES_OF_THE_PROBE = 300


def recipe(statistics: DataStatistics, mirrored: bool) -> dict[str, Any]:
    """Return the configuration.

    Args:
        statistics: of the training images.
        mirrored: whether a mirror image still shows its class.
    """
    epochs = max(8, min(25, round(8_000 / statistics.n_train)))
    common = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 1e-4, "batch_norm": "frozen"}
    return {
        "data": {
            "image_size": 224,
            "color": "grey" if statistics.is_grey else "rgb",
            "resize": "squash",
            "val_fraction": 0.15,
            "batch_size": 16 if statistics.n_train < 300 else 32,
            "class_weights": "sqrt" if statistics.imbalance > 1.5 else "none",
            "augment": _augmentations(statistics.is_grey, mirrored),
        },
        "model": {"backbone": "efficientnet_lite0", "dropout": 0.2, "label_smoothing": 0.1},
        "phases": [
            {"name": "head", "train": "head", "epochs": 10, "learning_rate": 3e-3, "augment": False, **common},
            {
                "name": "all",
                "train": "all",
                "epochs": epochs,
                "learning_rate": 3.5e-4,
                "warmup_epochs": 0.1 * epochs,
                "clip_norm": 1.0,
                **common,
            },
        ],
        "output": {"report": False},
    }


def _augmentations(grey: bool, mirrored: bool) -> list[dict[str, Any]]:
    flip = [{"name": "horizontal_flip"}] if mirrored else []
    if grey:
        return [*flip, {"name": "affine", "degrees": 5, "translate": 0.05, "scale": [0.92, 1.08], "fill": "reflect"}]
    crop = {"name": "random_resized_crop", "scale": [0.7, 1.0]}
    return [crop, *flip, {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}]


def mirrors(paths: Sequence[Path], labels: np.ndarray, seed: int) -> bool:
    """Say whether mirror images show their class: a linear model does not tell them from the images.

    Args:
        paths: training files.
        labels: int64 (n,).
        seed: chooses images and folds.
    """
    from benchmarks.quality.features import compute
    from keras_transfer.policy.mirror import LEAST_OF_A_CLASS, told_apart

    chosen = np.sort(np.random.default_rng(seed).permutation(len(paths))[:IMAGES_OF_THE_PROBE])
    files = [paths[i] for i in chosen]
    plain, mirrored = (compute(files, mirrored)[0].astype(np.float64) for mirrored in (False, True))
    share, count = told_apart(plain, mirrored, labels[chosen], seed)
    return count >= LEAST_OF_A_CLASS and share < TOLD_APART
