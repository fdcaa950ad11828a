"""Benchmarks: rivals side by side, each in its own process. One module per benchmark, one line each in the table below.

A benchmark is a module with a docstring whose first line says what it measures, and with a function

    cases(options: Options) -> list[Case]

See `harness.py` for `Options`, `Case` and `Rival`, and `docs/performance.md` for how to read the results.
"""

from __future__ import annotations

BENCHMARKS: dict[str, str] = {
    "train-step": "benchmarks.train_step",
    "inference": "benchmarks.inference",
    "head-phase": "benchmarks.head_phase",
    "last-block": "benchmarks.last_block",
    "pipeline": "benchmarks.pipeline",
    "shards": "benchmarks.shards",
    "recipe": "benchmarks.recipe",
    "startup": "benchmarks.startup",
    "scale": "benchmarks.scale",
    "memory": "benchmarks.memory",
    "zoo": "benchmarks.zoo",
    "export": "benchmarks.export",
    "serve": "benchmarks.serve",
    "evaluate": "benchmarks.evaluate",
    "batch": "benchmarks.batch",
    "sweep": "benchmarks.sweep",
    "data-parallel": "benchmarks.data_parallel",
}
"""Name on the command line → module."""
