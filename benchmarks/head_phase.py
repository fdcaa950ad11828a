"""Head phase: train a new head on a frozen ResNet50, with validation; seconds for the whole phase.

The reference is a hand-written PyTorch loop (forward under `no_grad`, same batches). `--rivals whole,keras_transfer` measures
every epoch of the loop instead of extrapolating from one.
"""

from __future__ import annotations

from benchmarks.frozen import case
from benchmarks.harness import Case, Options


def cases(options: Options) -> list[Case]:
    return [
        case(options, "ResNet50, head", "resnet50", "head", epochs=10, views=0, goal=40.0),
        case(options, "ResNet50, head, augmented", "resnet50", "head", epochs=20, views=4, goal=10.0),
    ]
