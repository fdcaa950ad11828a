"""What is to be said about data whose images may have several labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_transfer.data.samples import SampleTable
from keras_transfer.errors import UserError

FEW = 2


def check_labels(samples: SampleTable) -> None:
    """Raise UserError unless there are two labels, and one that tells images apart."""
    if len(samples.classes) < 2:
        raise UserError(
            f"{samples.source}: only one label ({samples.classes[0]!r}); expected at least two: one that images have or not is a "
            "column label with two classes, such as yes and no"
        )
    counts = samples.labels.sum(axis=0, dtype=np.int64)
    if not ((counts > 0) & (counts < len(samples))).any():
        raise UserError(f"{samples.source}: every label is on all images or on none: there is nothing to learn")


def notes_on_labels(samples: SampleTable) -> list[str]:
    """Return lines on how many labels images have, and on labels of which little can be learned."""
    each = samples.labels.sum(axis=1, dtype=np.int64)
    without = int((each == 0).sum())
    lines = [
        f"several labels per image: {each.mean():.2f} on average, at most {each.max()}"
        + (f"; {without} image{'s have' if without > 1 else ' has'} none" if without else "")
    ]
    inside = samples.labels[samples.split == "train"]
    if not len(inside):
        return lines
    counts = inside.sum(axis=0, dtype=np.int64)
    for places, what in (
        (counts == 0, "on no training image, so never predicted"),
        ((counts > 0) & (counts < FEW), "on one training image, of which little can be learned"),
        (counts == len(inside), "on every training image, so always predicted"),
    ):
        if places.any():
            lines.append(f"warning: {what}: {_shown([samples.classes[k] for k in np.flatnonzero(places)])}")
    return lines


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
