"""In Jupyter: progress and curves that move in their place, and what a cell shows of data, classifier and results.

Nothing here imports IPython unless a notebook has done so already.
"""

from __future__ import annotations

import sys
from typing import Any


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which can show HTML and change it later."""
    return getattr(_shell(), "kernel", None) is not None


def current_cell() -> int | None:
    """Number of the cell that is running, as its ``In [n]`` has it; None outside of IPython."""
    return getattr(_shell(), "execution_count", None)


def _shell() -> Any:
    ipython: Any = sys.modules.get("IPython")
    return ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
