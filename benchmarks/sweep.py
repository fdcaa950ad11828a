"""Sweep: seconds of head-only trials on the quickstart, with their features in the cache.

The trials differ in the learning rate, the batch size and the optimizer; none is pruned.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Case, Options, Rival

TRIALS, EPOCHS = 30, 10
SPACE = {
    "phases.0.learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "data.batch_size": [32, 64, 128],
    "phases.0.optimizer": ["adamw", "sgd"],
}


def cases(options: Options) -> list[Case]:
    backend = (options.backends or ("torch",))[0]
    epochs = options.epochs or EPOCHS
    rival = Rival(
        "sweep", f"{__name__}:trials", {"epochs": epochs}, {"KERAS_BACKEND": backend}, limits={"value": 180.0}
    )
    return [
        Case(f"{TRIALS} head-only trials on the quickstart, {backend}", "s", (rival,), higher_is_better=False, rounds=1)
    ]


def trials(epochs: int) -> Callable[[], float]:
    import keras_transfer as kt

    config = kt.load_config(
        "quickstart", [f"phases=[{{name: head, epochs: {epochs}, schedule: cosine, augment: false}}]"]
    )
    folder, numbers = Path(tempfile.mkdtemp()), itertools.count()

    def measure() -> float:
        began = time.perf_counter()
        kt.sweep(config, SPACE, trials=TRIALS, pruner="none", output=folder / str(next(numbers)), say=_quiet)
        return time.perf_counter() - began

    return measure


def _quiet(line: object = "") -> None:
    """Print nothing."""
