"""The IPython shell of this process, if it has one. Nothing here imports IPython."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """Return the running ``InteractiveShell``, or None."""
    ipython: Any = sys.modules.get("IPython")
    return ipython.get_ipython() if hasattr(ipython, "get_ipython") else None


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel, which can show HTML and update it later."""
    return getattr(shell(), "kernel", None) is not None


def current_cell() -> int | None:
    """Return the number of the running cell, as in its ``In [n]``; None outside of IPython."""
    return getattr(shell(), "execution_count", None)
