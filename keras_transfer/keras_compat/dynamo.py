"""Keras's torch backend without PyTorch's compiler, which takes as long to import as all the rest, until something compiles.

Keras imports ``torch._dynamo`` only to mark two functions as not to be compiled. Nothing here imports Keras or a framework.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


@contextlib.contextmanager
def dynamo_later() -> Iterator[None]:
    """Have what imports ``torch._dynamo`` inside the block get a stand-in, unless it is imported already."""
    if NAME in sys.modules:
        yield
        return
    stand_in = sys.modules[NAME] = _StandIn(NAME)
    try:
        yield
    finally:
        if sys.modules.get(NAME) is stand_in:
            del sys.modules[NAME]
            torch = sys.modules.get("torch")
            if torch is not None and vars(torch).get("_dynamo") is stand_in:
                del vars(torch)["_dynamo"]


class _StandIn(ModuleType):
    """Knows ``disable``; for anything else, the module itself is imported."""

    @staticmethod
    def disable(function: Callable[..., Any] | None = None, *args: Any, **options: Any) -> Callable[..., Any]:
        """Mark a function as not to be compiled, once something can compile."""
        if function is None:
            return lambda given: _StandIn.disable(given, *args, **options)
        marked: list[Callable[..., Any]] = []

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            if not isinstance(sys.modules.get(NAME), ModuleType) or isinstance(sys.modules[NAME], _StandIn):
                return function(*given, **named)  # nothing is compiled in this process yet
            if not marked:
                marked.append(sys.modules[NAME].disable(function, *args, **options))
            return marked[0](*given, **named)

        call._torchdynamo_disable = True  # type: ignore[attr-defined]  # by which the compiler knows such a function
        return call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)
