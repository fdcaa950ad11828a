"""Tiny rivals for the harness's own tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from benchmarks.harness import Case, Options, Rival
from keras_transfer.errors import UserError


def constant(values: list[float], log: str = "", name: str = "") -> Callable[[], float]:
    """Gives these values, a round each; notes its name and process in a file."""
    left = iter(values)

    def measure() -> float:
        if log:
            with open(log, "a") as lines:  # noqa: PTH123
                lines.write(f"{name} {os.getpid()}\n")
        return next(left)

    return measure


def with_figures() -> Callable[[], dict[str, float]]:
    print("this is not an answer")
    return lambda: {"value": 2.0, "memory": 3.0}


def variable(name: str) -> Callable[[], float]:
    return lambda: float(os.environ[name])


def absent() -> Callable[[], float]:
    raise UserError("needs the package 'abacus'")


def broken() -> Callable[[], float]:
    raise ValueError("no such thing")


def dies() -> Callable[[], float]:
    def measure() -> float:
        os._exit(3)

    return measure


def sleeps() -> Callable[[], float]:
    time.sleep(600)
    return lambda: 0.0


def cases(options: Options) -> list[Case]:
    """A benchmark."""
    here = "tests.benchmarks.fakes"
    rivals = (
        Rival("slow", f"{here}:constant", {"values": [10.0] * 9}),
        Rival("fast", f"{here}:constant", {"values": [20.0] * 9}),
        Rival("ours", f"{here}:constant", {"values": [30.0] * 9}, against=("slow", "fast"), goal=1.0),
        Rival("missing", f"{here}:absent"),
    )
    return [Case(f"counting with {model}", "numbers/s", rivals) for model in options.choose("models", ("a", "b"))]
