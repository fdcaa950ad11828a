"""Values of options that the configuration, the Python interface and the functions behind them share."""

from __future__ import annotations

import re
from typing import Literal

BACKENDS = ("torch", "tensorflow", "jax")
"""Keras backends, in order of preference."""
DEVICES = ("auto", "cpu", "gpu", "mps")
ENGINES = ("auto", "native", "openvino")
"""What computes predictions (:mod:`keras_transfer.engine.forward`)."""

SAMPLERS = ("tpe", "random", "grid")
"""How a sweep chooses values: by a model of what was good so far, at random, or all combinations."""
PRUNERS = ("median", "hyperband", "none")
"""Which trials of a sweep end early: those below the median of others in the same epoch, those that successive halving drops, or none."""
OBJECTIVES = ("accuracy", "loss", "balanced_accuracy", "macro_f1", "mean_average_precision")
"""Figures that a sweep can optimize."""

Color = Literal["rgb", "grey"]
"""Channels of an image: three or one."""
Resize = Literal["squash", "crop", "pad"]
"""How an image of another shape is fitted: change its aspect, cut, or add a border."""
Pooling = Literal["avg", "max"]
"""Global pooling between backbone and head."""
Stem = Literal["keep", "small_image", "one_channel"]
"""What is done to the first layers of a backbone (:mod:`keras_transfer.models.stem`)."""
BatchNorm = Literal["train", "frozen"]
"""Whether the backbone's BatchNorm layers may train."""

Distribute = Literal["none", "auto", "data_parallel"]
"""Whether several processes or devices train together (:mod:`keras_transfer.distribute`)."""

DROPOUT = 0.2
"""Default dropout rate before the logits."""

_LAST_GROUPS = re.compile(r"last\s+(\d+)\s+groups?")


def last_groups(train: str) -> int | None:
    """Return N of ``"last N groups"``, a value of the option ``train``, or ``None`` for any other text."""
    found = _LAST_GROUPS.fullmatch(train.strip())
    return int(found[1]) if found else None
