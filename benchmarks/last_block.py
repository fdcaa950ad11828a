"""Last block: train the last three blocks of MobileNetV2 and a new head, with validation; seconds for the whole phase.

The reference is a hand-written PyTorch loop that runs the frozen part under `no_grad` (same batches). `--rivals
whole,keras_transfer` measures every epoch of the loop instead of extrapolating from one.
"""

from __future__ import annotations

from benchmarks.frozen import case
from benchmarks.harness import Case, Options


def cases(options: Options) -> list[Case]:
    return [case(options, "MobileNetV2, last 3 blocks", "mobilenet_v2", "last 3 blocks", epochs=10, views=0, goal=4.0)]
