"""Last block: MobileNetV2 with its last three blocks and a new head trained with validation, seconds for the whole phase.

Against the hand-written loop in PyTorch that runs the frozen part under `no_grad` (same batches). `--rivals
whole,keras_transfer` measures every epoch of the loop instead of multiplying one.
"""

from __future__ import annotations

from benchmarks.frozen import case
from benchmarks.harness import Case, Options


def cases(options: Options) -> list[Case]:
    return [case(options, "MobileNetV2, last 3 blocks", "mobilenet_v2", "last 3 blocks", epochs=10, views=0, goal=4.0)]
