"""Head phase: ResNet50 frozen, a new head trained with validation, seconds for the whole phase.

Against the hand-written frozen loop in PyTorch (forward under `no_grad`, same batches). `--rivals whole,keras_transfer`
measures every epoch of the loop instead of multiplying one.
"""

from __future__ import annotations

from benchmarks.frozen import case
from benchmarks.harness import Case, Options


def cases(options: Options) -> list[Case]:
    return [
        case(options, "ResNet50, head", "resnet50", "head", epochs=10, views=0, goal=40.0),
        case(options, "ResNet50, head, augmented", "resnet50", "head", epochs=20, views=4, goal=10.0),
    ]
